#include "eval/prompts.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Keeps these prompts apart from any that a collector makes of the same seed.
constexpr uint64_t kEvaluationStream = 0x6576616c75617465;

}  // namespace

std::vector<int32_t> EvaluationPrompt::Continuation() const {
  std::vector<int32_t> tokens;
  for (const Question& question : questions) {
    tokens.insert(tokens.end(), question.tokens.begin(), question.tokens.end());
    tokens.push_back(question.answer);
  }
  return tokens;
}

absl::Status CheckPrompt(const EvaluationPrompt& prompt) {
  if (prompt.context.empty() || prompt.questions.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("task ", prompt.task, ": a prompt has ",
                                                   prompt.context.size(), " context tokens and ",
                                                   prompt.questions.size(), " questions"));
  }
  std::vector<int32_t> seen;
  for (size_t i = 0; i < prompt.questions.size(); ++i) {
    const EvaluationPrompt::Question& question = prompt.questions[i];
    const std::string name = absl::StrCat("task ", prompt.task, ", question ", i);
    if (question.tokens.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": no tokens"));
    }
    seen.insert(seen.end(), question.tokens.begin(), question.tokens.end());
    if (std::find(seen.begin(), seen.end(), question.answer) != seen.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": its answer, token ", question.answer,
                       ", stands in a question or an answer before it"));
    }
    seen.push_back(question.answer);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<EvaluationPrompt>> RetrievalPrompts(const Tokenizer& tokenizer,
                                                               absl::string_view text,
                                                               const RetrievalOptions& options,
                                                               int64_t count, uint64_t seed) {
  ASSIGN_OR_RETURN(const RetrievalTaskGenerator generator,
                   RetrievalTaskGenerator::Create(text, [&tokenizer](absl::string_view piece) {
                     return tokenizer.EncodeContinuation(piece).size();
                   }));
  SplitMix64 seeds(seed ^ kEvaluationStream);
  std::vector<EvaluationPrompt> prompts;
  for (int64_t i = 0; i < count; ++i) {
    EvaluationPrompt prompt;
    prompt.task = "retrieval";
    prompt.sequence_seed = seeds.Next();
    ASSIGN_OR_RETURN(const RetrievalTask task, generator.Generate(options, prompt.sequence_seed));
    prompt.context = tokenizer.EncodeSequence(task.context);
    for (const RetrievalTask::Question& question : task.questions) {
      const std::vector<int32_t> answer = tokenizer.EncodeContinuation(question.answer);
      if (answer.size() != 1) {
        return absl::InvalidArgumentError(absl::StrCat("retrieval prompt ", i, ": answer \"",
                                                       question.answer, "\" is ", answer.size(),
                                                       " tokens"));
      }
      prompt.questions.push_back({tokenizer.EncodeContinuation(question.question), answer[0]});
    }
    RETURN_IF_ERROR(CheckPrompt(prompt));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<std::vector<TextWindow>> TextWindows(const Tokenizer& tokenizer,
                                                    absl::string_view text,
                                                    const TextWindowOptions& options,
                                                    uint64_t seed) {
  const int64_t length = options.context_tokens + options.continuation_tokens;
  if (options.context_tokens < 1 || options.continuation_tokens < 2 || options.count < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("text windows: ", options.count, " of ", options.context_tokens, " + ",
                     options.continuation_tokens, " tokens; at least 1 of 1 + 2 is needed"));
  }
  const std::vector<int32_t> tokens = tokenizer.Encode(text);
  const std::vector<int32_t> begin_of_sequence = tokenizer.EncodeSequence("");
  const int64_t total = static_cast<int64_t>(tokens.size());
  const int64_t count = std::min(options.count, total / length);
  if (count == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("text windows: the text has ", total, " tokens, one window needs ", length));
  }
  SplitMix64 seeds(seed ^ kEvaluationStream ^ 1);
  std::vector<TextWindow> windows;
  for (int64_t i = 0; i < count; ++i) {
    const auto begin = tokens.begin() + i * (total / count);
    const auto middle = begin + options.context_tokens;
    TextWindow window;
    window.context = begin_of_sequence;
    window.context.insert(window.context.end(), begin, middle);
    window.continuation.assign(middle, begin + length);
    window.sequence_seed = seeds.Next();
    windows.push_back(std::move(window));
  }
  return windows;
}

}  // namespace kvp

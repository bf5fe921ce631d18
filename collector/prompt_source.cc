#include "collector/prompt_source.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "util/split_mix64.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// "data/oasst.jsonl" -> "oasst".
std::string Stem(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  const size_t dot = name.rfind('.');
  return dot == 0 || dot == std::string::npos ? name : name.substr(0, dot);
}

absl::Status CheckOption(absl::string_view name, int64_t value, int64_t minimum) {
  if (value >= minimum && value <= std::numeric_limits<int32_t>::max()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, "=", value, ": it must be at least ", minimum));
}

class FilePromptSource : public PromptSource {
 public:
  FilePromptSource(std::string path, std::vector<Prompt> prompts, const Tokenizer* tokenizer)
      : path_(std::move(path)),
        task_(Stem(path_)),
        prompts_(std::move(prompts)),
        tokenizer_(*tokenizer) {}

  int64_t size() const override { return static_cast<int64_t>(prompts_.size()); }
  const std::string& task() const override { return task_; }

  absl::StatusOr<TokenizedPrompt> Get(int64_t index) const override {
    const Prompt& prompt = prompts_[index];
    TokenizedPrompt tokenized;
    tokenized.origin = absl::StrCat(path_, ":", prompt.line);
    tokenized.prompt = tokenizer_.EncodeSequence(prompt.text);
    if (prompt.answer.has_value()) {
      tokenized.continuation = tokenizer_.Encode(*prompt.answer);
    }
    return tokenized;
  }

 private:
  const std::string path_;
  const std::string task_;
  const std::vector<Prompt> prompts_;
  const Tokenizer& tokenizer_;
};

class RetrievalPromptSource : public PromptSource {
 public:
  RetrievalPromptSource(RetrievalTaskGenerator generator, GeneratedPromptOptions options,
                        const Tokenizer* tokenizer)
      : generator_(std::move(generator)), options_(options), tokenizer_(*tokenizer) {}

  int64_t size() const override { return options_.count; }
  const std::string& task() const override { return task_; }

  absl::StatusOr<TokenizedPrompt> Get(int64_t index) const override {
    RetrievalOptions task_options;
    task_options.needles = static_cast<int>(options_.needles);
    task_options.questions = static_cast<int>(options_.questions);
    task_options.context_tokens = static_cast<int>(options_.context_tokens);
    ASSIGN_OR_RETURN(const RetrievalTask task,
                     generator_.Generate(task_options, ItemSeed(options_.seed, index)));
    TokenizedPrompt tokenized;
    tokenized.origin = absl::StrCat("retrieval task ", index, " of seed ", options_.seed);
    tokenized.prompt = tokenizer_.EncodeSequence(task.context);
    std::string continuation;
    for (const RetrievalTask::Question& question : task.questions) {
      absl::StrAppend(&continuation, question.question, question.answer);
    }
    tokenized.continuation = tokenizer_.Encode(continuation);
    return tokenized;
  }

 private:
  const std::string task_ = "retrieval";
  const RetrievalTaskGenerator generator_;
  const GeneratedPromptOptions options_;
  const Tokenizer& tokenizer_;
};

class TextPromptSource : public PromptSource {
 public:
  TextPromptSource(std::vector<int32_t> affix, std::vector<int32_t> tokens,
                   GeneratedPromptOptions options)
      : affix_(std::move(affix)), tokens_(std::move(tokens)), options_(options) {}

  int64_t size() const override { return options_.count; }
  const std::string& task() const override { return task_; }

  absl::StatusOr<TokenizedPrompt> Get(int64_t index) const override {
    const int64_t prompt_tokens = options_.context_tokens - static_cast<int64_t>(affix_.size());
    const int64_t window = prompt_tokens + options_.continuation_tokens;
    const int64_t starts = static_cast<int64_t>(tokens_.size()) - window + 1;
    // One window in each of `count` equal parts of the text, at a random place there.
    const int64_t begin = index * starts / options_.count;
    const int64_t end = std::max(begin + 1, (index + 1) * starts / options_.count);
    const int64_t start =
        begin + static_cast<int64_t>(SplitMix64(ItemSeed(options_.seed, index)).Below(end - begin));
    const auto first = tokens_.begin() + start;
    const auto cut = first + prompt_tokens;
    TokenizedPrompt tokenized;
    tokenized.origin = absl::StrCat("text window at token ", start);
    tokenized.prompt = affix_;
    tokenized.prompt.insert(tokenized.prompt.end(), first, cut);
    tokenized.continuation.assign(cut, cut + options_.continuation_tokens);
    return tokenized;
  }

 private:
  const std::string task_ = "text";
  const std::vector<int32_t> affix_;   // before every window
  const std::vector<int32_t> tokens_;  // the whole text's
  const GeneratedPromptOptions options_;
};

absl::Status Prefixed(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PromptSource>> FilePrompts(const std::string& path,
                                                          const Tokenizer* tokenizer) {
  ASSIGN_OR_RETURN(std::vector<Prompt> prompts, ReadPrompts(path));
  return std::make_unique<FilePromptSource>(path, std::move(prompts), tokenizer);
}

absl::StatusOr<std::unique_ptr<PromptSource>> RetrievalPrompts(
    absl::string_view text, const std::string& path, const GeneratedPromptOptions& options,
    const Tokenizer* tokenizer) {
  RETURN_IF_ERROR(CheckOption("count", options.count, 1));
  RETURN_IF_ERROR(CheckOption("context_tokens", options.context_tokens, 1));
  RETURN_IF_ERROR(CheckOption("needles", options.needles, 1));
  RETURN_IF_ERROR(CheckOption("questions", options.questions, 1));
  auto generator = RetrievalTaskGenerator::Create(
      text, [tokenizer](absl::string_view piece) { return tokenizer->Encode(piece).size(); });
  if (!generator.ok()) return Prefixed(path, generator.status());
  auto source = std::make_unique<RetrievalPromptSource>(*std::move(generator), options, tokenizer);
  // Options that contradict each other do so for every prompt: say it before any work is done.
  if (const auto first = source->Get(0); !first.ok()) return Prefixed(path, first.status());
  return source;
}

absl::StatusOr<std::unique_ptr<PromptSource>> TextPrompts(absl::string_view text,
                                                          const std::string& path,
                                                          const GeneratedPromptOptions& options,
                                                          const Tokenizer* tokenizer) {
  RETURN_IF_ERROR(CheckOption("count", options.count, 1));
  std::vector<int32_t> affix = tokenizer->EncodeSequence("");
  const int64_t affix_tokens = static_cast<int64_t>(affix.size());
  RETURN_IF_ERROR(CheckOption("context_tokens", options.context_tokens, affix_tokens + 1));
  RETURN_IF_ERROR(CheckOption("continuation_tokens", options.continuation_tokens, 1));
  std::vector<int32_t> tokens = tokenizer->Encode(text);
  const int64_t window = options.context_tokens - affix_tokens + options.continuation_tokens;
  if (static_cast<int64_t>(tokens.size()) < window) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": ", tokens.size(), " tokens of text, fewer than a window of ", window));
  }
  return std::make_unique<TextPromptSource>(std::move(affix), std::move(tokens), options);
}

}  // namespace kvp

#include "collector/prompt_source.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "llm/chat_template.h"
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

absl::Status Prefixed(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// A file's prompt as text.
struct RenderedPrompt {
  std::string text;
  // Whether the chat template has put the tokens that belong before a text.
  bool is_chat = false;
  // The text with the assistant's last message; empty where the model is to go on by itself.
  std::string with_answer;
};

absl::StatusOr<RenderedPrompt> Render(const Prompt& prompt, const ChatTemplate& chat) {
  const bool has_answer = prompt.messages.back().role == "assistant";
  const absl::Span<const ChatMessage> messages = prompt.messages;
  RenderedPrompt rendered;
  rendered.is_chat = true;
  ASSIGN_OR_RETURN(rendered.text, chat.Render(messages.subspan(0, messages.size() - has_answer),
                                              /*add_generation_prompt=*/true));
  if (!has_answer) return rendered;
  ASSIGN_OR_RETURN(rendered.with_answer, chat.Render(messages, /*add_generation_prompt=*/false));
  if (!absl::StartsWith(rendered.with_answer, rendered.text)) {
    return absl::InvalidArgumentError(
        "the chat template doesn't write the last message behind what it asks an assistant to "
        "begin with; give it as \"answer\" instead");
  }
  return rendered;
}

// What follows the prompt's tokens in those of the whole; the rest by itself where a token goes
// across.
std::vector<int32_t> LastMessage(const RenderedPrompt& rendered, const std::vector<int32_t>& prompt,
                                 const Tokenizer& tokenizer) {
  const std::vector<int32_t> whole = tokenizer.Encode(rendered.with_answer);
  const bool is_prefix =
      whole.size() >= prompt.size() && std::equal(prompt.begin(), prompt.end(), whole.begin());
  if (is_prefix) return {whole.begin() + static_cast<int64_t>(prompt.size()), whole.end()};
  return tokenizer.EncodeContinuation(
      absl::string_view(rendered.with_answer).substr(rendered.text.size()));
}

TokenizedPrompt Tokenized(const Prompt& prompt, const RenderedPrompt& rendered,
                          const Tokenizer& tokenizer) {
  TokenizedPrompt tokenized;
  tokenized.prompt =
      rendered.is_chat ? tokenizer.Encode(rendered.text) : tokenizer.EncodeSequence(rendered.text);
  if (prompt.answer.has_value()) {
    tokenized.continuation = tokenizer.EncodeContinuation(*prompt.answer);
  } else if (!rendered.with_answer.empty()) {
    tokenized.continuation = LastMessage(rendered, tokenized.prompt, tokenizer);
  }
  return tokenized;
}

class FilePromptSource : public PromptSource {
 public:
  FilePromptSource(const std::string& path, std::vector<TokenizedPrompt> prompts)
      : task_(Stem(path)), prompts_(std::move(prompts)) {}

  int64_t size() const override { return static_cast<int64_t>(prompts_.size()); }
  const std::string& task() const override { return task_; }
  absl::StatusOr<TokenizedPrompt> Get(int64_t index) const override { return prompts_[index]; }

 private:
  const std::string task_;
  const std::vector<TokenizedPrompt> prompts_;
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
    tokenized.continuation = tokenizer_.EncodeContinuation(continuation);
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

}  // namespace

absl::Status CheckOption(absl::string_view name, int64_t value, int64_t minimum) {
  if (value >= minimum && value <= std::numeric_limits<int32_t>::max()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, "=", value, ": it must be at least ", minimum));
}

absl::StatusOr<std::unique_ptr<PromptSource>> FilePrompts(const std::string& path,
                                                          const Tokenizer& tokenizer,
                                                          int64_t max_model_len,
                                                          const std::string& model_directory) {
  ASSIGN_OR_RETURN(const std::vector<Prompt> prompts, ReadPrompts(path));
  std::unique_ptr<ChatTemplate> chat;
  std::vector<TokenizedPrompt> tokenized;
  for (const Prompt& prompt : prompts) {
    const std::string place = absl::StrCat(path, ":", prompt.line);
    RenderedPrompt rendered;
    if (prompt.messages.empty()) {
      rendered.text = prompt.text;
    } else {
      if (chat == nullptr) {
        absl::StatusOr<std::unique_ptr<ChatTemplate>> loaded = ChatTemplate::Load(model_directory);
        if (!loaded.ok()) return Prefixed(place, loaded.status());
        chat = *std::move(loaded);
      }
      absl::StatusOr<RenderedPrompt> one = Render(prompt, *chat);
      if (!one.ok()) return Prefixed(place, one.status());
      rendered = *std::move(one);
    }
    TokenizedPrompt& one = tokenized.emplace_back(Tokenized(prompt, rendered, tokenizer));
    one.origin = place;
    RETURN_IF_ERROR(CheckLength(one, max_model_len));
  }
  return std::make_unique<FilePromptSource>(path, std::move(tokenized));
}

absl::StatusOr<std::unique_ptr<PromptSource>> RetrievalPrompts(
    absl::string_view text, const std::string& path, const GeneratedPromptOptions& options,
    const Tokenizer* tokenizer) {
  RETURN_IF_ERROR(CheckOption("count", options.count, 1));
  RETURN_IF_ERROR(CheckOption("context_tokens", options.context_tokens, 1));
  RETURN_IF_ERROR(CheckOption("needles", options.needles, 1));
  RETURN_IF_ERROR(CheckOption("questions", options.questions, 1));
  auto generator = RetrievalTaskGenerator::Create(text, [tokenizer](absl::string_view piece) {
    return tokenizer->EncodeContinuation(piece).size();
  });
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

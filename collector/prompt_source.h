// What a collector works through: numbered, tokenised prompts, from a file or generated.

#ifndef KVP_COLLECTOR_PROMPT_SOURCE_H_
#define KVP_COLLECTOR_PROMPT_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "collector/prompt.h"
#include "collector/tokenized_prompt.h"
#include "llm/embedded/retrieval_task.h"
#include "llm/tokenizer.h"

namespace kvp {

// Immutable; thread-safe. The same source gives the same prompts each time, so several workers can
// share them out by number.
class PromptSource {
 public:
  virtual ~PromptSource() = default;

  virtual int64_t size() const = 0;
  // Prompt `index` in [0, size). INVALID_ARGUMENT, naming the origin, where it can't be made.
  virtual absl::StatusOr<TokenizedPrompt> Get(int64_t index) const = 0;
  // What TraceRecord.task says unless the prompt or the user does: "retrieval", "text", or a file's
  // name without its extension.
  virtual const std::string& task() const = 0;
};

// INVALID_ARGUMENT, naming the option, where a source's option isn't in [minimum, 2^31).
absl::Status CheckOption(absl::string_view name, int64_t value, int64_t minimum);

// The prompts of a file (collector/prompt.h). Conversations go through the chat template of
// `model_directory`. All of them are tokenised at once and kept, so that one that can't be
// rendered, or is longer than `max_model_len`, is found before any work is done: errors as
// ChatTemplate's, with the line, and CheckLength's. `tokenizer` isn't kept.
absl::StatusOr<std::unique_ptr<PromptSource>> FilePrompts(const std::string& path,
                                                          const Tokenizer& tokenizer,
                                                          int64_t max_model_len,
                                                          const std::string& model_directory = "");

// Generated prompts fill the model's context up to so many tokens, unless somebody says otherwise.
constexpr int64_t kDefaultWindow = 4096;

struct GeneratedPromptOptions {
  int64_t count = 0;
  // Different seeds give different prompts, of the same kind.
  uint64_t seed = 0;
  // Tokens of a prompt.
  int64_t context_tokens = 0;
  // Tokens of a text window's continuation.
  int64_t continuation_tokens = 0;
  // Of a retrieval task.
  int64_t needles = 28;
  int64_t questions = 8;
};

// Retrieval tasks (llm/embedded/retrieval_task.h) on the sentences of `text`: the prompt is the
// context, the forced continuation all questions with their answers. So the cut lies before the
// first question, as in an evaluation that compresses without knowing the questions.
// INVALID_ARGUMENT, naming `path` or the option, where the text doesn't do.
absl::StatusOr<std::unique_ptr<PromptSource>> RetrievalPrompts(
    absl::string_view text, const std::string& path, const GeneratedPromptOptions& options,
    const Tokenizer* tokenizer);

// Windows of natural text, spread evenly over it: context_tokens as the prompt, the next
// continuation_tokens as the forced continuation. INVALID_ARGUMENT, naming `path` or the option,
// where the text is shorter than a window.
absl::StatusOr<std::unique_ptr<PromptSource>> TextPrompts(absl::string_view text,
                                                          const std::string& path,
                                                          const GeneratedPromptOptions& options,
                                                          const Tokenizer* tokenizer);

}  // namespace kvp

#endif  // KVP_COLLECTOR_PROMPT_SOURCE_H_

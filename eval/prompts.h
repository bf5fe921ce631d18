// What the model is asked in an evaluation: contexts with questions, and windows of natural text.

#ifndef KVP_EVAL_PROMPTS_H_
#define KVP_EVAL_PROMPTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/embedded/retrieval_task.h"
#include "llm/tokenizer.h"

namespace kvp {

// A context, which is compressed, and the questions that come after.
struct EvaluationPrompt {
  struct Question {
    std::vector<int32_t> tokens;
    int32_t answer = 0;
  };
  std::string task;
  std::vector<int32_t> context;
  std::vector<Question> questions;
  // Names the sequence: seeds the policies that are random.
  uint64_t sequence_seed = 0;

  // Every question followed by its answer.
  std::vector<int32_t> Continuation() const;
};

// INVALID_ARGUMENT, naming the task and the question, unless the prompt has a context and
// questions, and no question's answer occurs before it in the continuation: teacher-forced
// together, such questions would give each other's answers away.
absl::Status CheckPrompt(const EvaluationPrompt& prompt);

// `count` retrieval prompts over `text`, one paragraph a line. The same (text, tokenizer, options,
// seed) gives the same prompts. INVALID_ARGUMENT as RetrievalTaskGenerator, or where an answer
// isn't one token.
absl::StatusOr<std::vector<EvaluationPrompt>> RetrievalPrompts(const Tokenizer& tokenizer,
                                                               absl::string_view text,
                                                               const RetrievalOptions& options,
                                                               int64_t count, uint64_t seed);

// Natural text: a context, which is compressed, and the text that follows it.
struct TextWindow {
  std::vector<int32_t> context;
  std::vector<int32_t> continuation;
  uint64_t sequence_seed = 0;
};

struct TextWindowOptions {
  // Of the text; what the tokenizer puts before a sequence comes on top.
  int64_t context_tokens = 768;
  int64_t continuation_tokens = 128;
  int64_t count = 24;
};

// At most `count` windows that don't overlap, evenly spaced over `text`; as many as fit where it is
// short. INVALID_ARGUMENT where not one fits.
absl::StatusOr<std::vector<TextWindow>> TextWindows(const Tokenizer& tokenizer,
                                                    absl::string_view text,
                                                    const TextWindowOptions& options,
                                                    uint64_t seed);

}  // namespace kvp

#endif  // KVP_EVAL_PROMPTS_H_

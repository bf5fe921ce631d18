// What a trained model is judged by, on text that it hasn't seen.

#ifndef KVP_LLM_EMBEDDED_EVALUATION_H_
#define KVP_LLM_EMBEDDED_EVALUATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llm/embedded/training_model.h"
#include "llm/tokenizer.h"

namespace kvp {

struct EmbeddedEvaluation {
  // Share of questions answered right, with the whole cache.
  double recall = 0;
  int64_t questions = 0;
  // Nats a token on natural text, in windows of kEmbeddedContextTokens.
  double nats_per_token = 0;
  // A Kneser-Ney bigram model's on the same tokens.
  double bigram_nats_per_token = 0;
  int64_t text_tokens = 0;
};

struct EvaluationOptions {
  int prompts = 64;
  int questions = 8;
  int max_text_windows = 96;
  uint64_t seed = 20260001;
};

// `held_out` is the text that prompts' filler and natural text come from, one
// paragraph a line; `training_tokens` are what the bigram model learns from.
absl::StatusOr<EmbeddedEvaluation> EvaluateEmbeddedModel(
    const TrainingModel& model, const Tokenizer& tokenizer, const std::string& held_out,
    const std::vector<std::vector<int32_t>>& training_tokens, const EvaluationOptions& options);

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_EVALUATION_H_

// A prompt as a model takes it.

#ifndef KVP_COLLECTOR_TOKENIZED_PROMPT_H_
#define KVP_COLLECTOR_TOKENIZED_PROMPT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace kvp {

struct TokenizedPrompt {
  std::vector<int32_t> prompt;
  // The teacher-forced continuation; empty where the model is to generate it.
  std::vector<int32_t> continuation;
  // Where it is from, for messages: "prompts.jsonl:12".
  std::string origin;
  // Its task, where that isn't the source's.
  std::string task;
};

// OK where the prompt with its continuation, one token at least, fits the model's longest sequence.
// INVALID_ARGUMENT naming the origin and both lengths.
absl::Status CheckLength(const TokenizedPrompt& prompt, int64_t max_model_len);

}  // namespace kvp

#endif  // KVP_COLLECTOR_TOKENIZED_PROMPT_H_

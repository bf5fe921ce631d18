// The flags of `kvp collect` that say what its prompts are.

#ifndef KVP_COLLECTOR_PROMPT_FLAGS_H_
#define KVP_COLLECTOR_PROMPT_FLAGS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/flags/declare.h"
#include "absl/status/statusor.h"
#include "collector/prompt_source.h"
#include "llm/tokenizer.h"

// Of the generated prompts, and of sampling.
ABSL_DECLARE_FLAG(uint64_t, seed);

namespace kvp {

// What is wrong with the flags, alone or taken together, in words that name flag and value; or "".
std::string PromptUsageProblem();

// The prompts that the flags ask for; conversations go through the chat template of the model in
// `model_directory`. `max_positions` is the model's longest sequence. `tokenizer`
// isn't owned and must outlive the source. OUT_OF_RANGE, naming flag and value, where they don't
// suit the model: wrong usage, too. INVALID_ARGUMENT, NOT_FOUND or UNAVAILABLE as of the source.
absl::StatusOr<std::unique_ptr<PromptSource>> PromptsFromFlags(const std::string& model_directory,
                                                               int64_t max_positions,
                                                               const Tokenizer* tokenizer);

}  // namespace kvp

#endif  // KVP_COLLECTOR_PROMPT_FLAGS_H_

// The tokenizer of a model's directory.

#ifndef KVP_LLM_MODEL_TOKENIZER_H_
#define KVP_LLM_MODEL_TOKENIZER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "llm/model_config.h"
#include "llm/tokenizer.h"

namespace kvp {

// Loads `directory`/tokenizer.json: errors as Tokenizer::Load's. INVALID_ARGUMENT, naming the file,
// the token and both numbers, where it has ids that the model has no embedding for: it is another
// model's. The model may have more.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadModelTokenizer(const std::string& directory,
                                                              const ModelConfig& config);

}  // namespace kvp

#endif  // KVP_LLM_MODEL_TOKENIZER_H_

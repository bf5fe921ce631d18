// Writes a trained model as a Hugging Face directory.

#ifndef KVP_LLM_EMBEDDED_MODEL_EXPORT_H_
#define KVP_LLM_EMBEDDED_MODEL_EXPORT_H_

#include <string>

#include "absl/status/status.h"
#include "llm/embedded/byte_pair_trainer.h"
#include "llm/embedded/training_model.h"

namespace kvp {

// The context length that config.json states: what training ends with.
inline constexpr int kEmbeddedContextTokens = 1024;

// Rounds every parameter to bf16, which is what the file holds.
void RoundToBf16(TrainingModel* model);

// Writes config.json, generation_config.json, tokenizer.json and
// model.safetensors (bf16) into `directory`, each atomically.
absl::Status WriteModelDirectory(const std::string& directory, const TrainingModel& model,
                                 const BytePairVocabulary& vocabulary);

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_MODEL_EXPORT_H_

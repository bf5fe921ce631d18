// A tiny random model for tests, written to disk in Hugging Face layout.

#ifndef KVP_COLLECTOR_TINY_MODEL_H_
#define KVP_COLLECTOR_TINY_MODEL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace kvp {

constexpr int64_t kTinyVocab = 96;
constexpr int64_t kTinyPositions = 256;

// Writes config.json and model.safetensors into `directory`, which it creates: 2 layers, 4 query
// and 2 KV heads of dimension 8, kTinyVocab tokens, no end-of-sequence token. Weights are large
// enough for attention to be far from uniform.
absl::Status WriteTinyModel(const std::string& directory, uint64_t seed);

}  // namespace kvp

#endif  // KVP_COLLECTOR_TINY_MODEL_H_

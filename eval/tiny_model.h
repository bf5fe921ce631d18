// A random model of a few kilobytes, for tests: its answers mean nothing, but everything in it is
// real.

#ifndef KVP_EVAL_TINY_MODEL_H_
#define KVP_EVAL_TINY_MODEL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace kvp {

// Geometry: 2 layers, 4 query and 2 KV heads of 8, 512 positions; the vocabulary is the 256 bytes
// and an end token, 256.
constexpr int64_t kTinyLayers = 2;
constexpr int64_t kTinyKvHeads = 2;
constexpr int64_t kTinyHeadDim = 8;
constexpr int64_t kTinyVocabulary = 257;

// Writes config.json, model.safetensors (fp32) and tokenizer.json (bytes, no merges) into
// `directory`, which it creates.
absl::Status WriteTinyModel(const std::string& directory, uint64_t seed);

}  // namespace kvp

#endif  // KVP_EVAL_TINY_MODEL_H_

// A checkpoint with the geometry of Llama-3.1-8B and random weights, to measure speed with.

#ifndef KVP_TESTS_GPU_LLAMA_8B_H_
#define KVP_TESTS_GPU_LLAMA_8B_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace kvp {

// Sizes as config.json spells them; the defaults are those of Llama-3.1-8B.
struct LlamaGeometry {
  int64_t vocab_size = 128256;
  int64_t hidden_size = 4096;
  int64_t intermediate_size = 14336;
  int64_t num_hidden_layers = 32;
  int64_t num_attention_heads = 32;
  int64_t num_key_value_heads = 8;
  int64_t head_dim = 128;
};

// The same with everything small, for machines without a GPU.
LlamaGeometry TinyLlamaGeometry();

// Creates `directory` with config.json and bf16 weights in several files with an index, 16 GB of
// them for the default geometry. Weights are normally distributed numbers that repeat after some
// 16 million, norms are ones: the same bytes each time. Errors as WriteSafetensors.
absl::Status WriteRandomLlama(const std::string& directory, const LlamaGeometry& geometry);

}  // namespace kvp

#endif  // KVP_TESTS_GPU_LLAMA_8B_H_

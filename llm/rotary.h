// Rotary positions (Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding",
// 2021), in Hugging Face's layout of the pairs.

#ifndef KVP_LLM_ROTARY_H_
#define KVP_LLM_ROTARY_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "llm/model_config.h"

namespace kvp {

// The rotation of some tokens' queries and keys. Immutable.
class Rotation {
 public:
  // `frequencies` fp32 [rotary_dim / 2], `positions` fp32 [tokens], on the same device. Cosines and
  // sines are computed in fp32, as models are trained, multiplied by `scaling`, and rounded to
  // `dtype`.
  Rotation(const at::Tensor& frequencies, const at::Tensor& positions, double scaling,
           at::ScalarType dtype);

  // Turns each pair (x[i], x[i + rotary_dim / 2]) of the first rotary_dim numbers of every head of
  // `x` [heads, tokens, head_dim] by position * frequency, and leaves the others; contiguous.
  at::Tensor Rotate(const at::Tensor& x) const;

 private:
  at::Tensor cosines_;  // [tokens, rotary_dim / 2]
  at::Tensor sines_;
};

// What all rotations of a model have in common.
struct RotaryPositions {
  at::Tensor frequencies;  // fp32 [rotary_dim / 2], on the CPU
  // Factor of cosines and sines, with which YaRN and longrope scale attention: it is in the queries
  // and keys.
  double scaling = 1;
};

// For sequences of up to `max_model_len` tokens, which decides between the short and the long
// factors of longrope. The other types don't depend on it.
RotaryPositions RotaryPositionsOf(const ModelConfig& config, int64_t max_model_len);

}  // namespace kvp

#endif  // KVP_LLM_ROTARY_H_

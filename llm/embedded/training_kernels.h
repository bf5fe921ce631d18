// Forward and backward kernels of a Llama layer on plain float arrays, for one
// thread. Everything that isn't a matrix product of the linear layers is here.
//
// The kernels are written with GCC's vector extensions and compiled for
// several instruction sets, of which the best one is picked when the program
// starts. They keep a causal attention block in the second-level cache, which
// is what makes training on two cores quick: composed from tensor operations,
// attention at 1,024 tokens is bound by memory.
//
// Shapes: T tokens of one sequence (a multiple of kSequenceMultiple), N tokens in a batch, D hidden
// size, d head size (always kHeadDim). Matrices are row-major; a stride counts floats.

#ifndef KVP_LLM_EMBEDDED_TRAINING_KERNELS_H_
#define KVP_LLM_EMBEDDED_TRAINING_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvp {

inline constexpr int kHeadDim = 32;
// Attention wants sequences of a multiple of this many tokens. Shorter ones are
// padded at their end: what comes later changes nothing before it.
inline constexpr int kSequenceMultiple = 32;

// y[n] = x[n] * rsqrt(mean(x[n]^2) + epsilon) * weight. Also stores the rsqrt.
void RmsNormForward(const float* x, const float* weight, int64_t tokens, int64_t dim, float epsilon,
                    float* y, float* inverse_rms);

// Adds the gradients with respect to x and weight to grad_x and grad_weight.
void RmsNormBackward(const float* x, const float* weight, const float* inverse_rms,
                     const float* grad_y, int64_t tokens, int64_t dim, float* grad_x,
                     float* grad_weight);

// Cosine and sine of every angle position * theta^(-2i/d).
class RotaryTable {
 public:
  RotaryTable(int64_t positions, float theta);

  // Rotates `heads` heads that lie one behind the other at `head`, in halves
  // as Hugging Face's Llama does; `direction` -1 is the inverse (gradient).
  void Rotate(int64_t position, int heads, float direction, float* head) const;

 private:
  std::vector<float> cosines_;  // [positions, d / 2]
  std::vector<float> sines_;
};

// act = silu(gate) * up, where a row of gate_up is [gate, up].
void SwiGluForward(const float* gate_up, int64_t tokens, int64_t dim, float* act);
void SwiGluBackward(const float* gate_up, const float* grad_act, int64_t tokens, int64_t dim,
                    float* grad_gate_up);

// Replaces logits [N, V] by weight[n] * d cross-entropy[n] / d logits, stores
// each row's cross-entropy (nats) and whether the target is its maximum.
void CrossEntropyInPlace(const int32_t* targets, const float* weights, int64_t tokens,
                         int64_t vocabulary, float* logits, float* losses, uint8_t* hits);

// Scratch memory for attention, reused from call to call.
struct AttentionWorkspace {
  std::vector<float> keys_transposed;    // [d, T rounded up]
  std::vector<float> values_transposed;  // [d, T rounded up]
  std::vector<float> probabilities;      // [block, T rounded up]
  std::vector<float> gradients;          // [block, T rounded up]
};

// Causal softmax attention of one sequence. A row of qkv is [query heads, key
// heads, value heads]; a row of output [query heads]. log_sums [query_heads,
// T] keeps what the backward pass needs of the softmax.
void AttentionForward(const float* qkv, int64_t tokens, int query_heads, int kv_heads,
                      float* output, float* log_sums, AttentionWorkspace* workspace);

// Writes the gradient with respect to qkv.
void AttentionBackward(const float* qkv, const float* output, const float* grad_output,
                       const float* log_sums, int64_t tokens, int query_heads, int kv_heads,
                       float* grad_qkv, AttentionWorkspace* workspace);

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_TRAINING_KERNELS_H_

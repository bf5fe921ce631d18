// Stacked agents forward and backward on the CPU, without autograd: batched matrix products, and
// between them the fused kernels of norm_kernel.h. The same mathematics as AgentScores, which is
// the reference and does other devices.

#ifndef KVP_POLICY_AGENT_PASS_H_
#define KVP_POLICY_AGENT_PASS_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "policy/agent_network.h"

namespace kvp {

// One forward pass over one context, and what its backward pass needs: 8 · width and some numbers
// an entry and head. Immutable once made; shares the memory of parameters and inputs, which mustn't
// change in between. Everything is fp32 and on the CPU.
class AgentPass {
 public:
  // `positions` of the inputs are [rows], and different. With bf16 as `dtype`, matrices are
  // multiplied in it, as in AgentScores.
  AgentPass(const AgentShape& shape, const AgentParameters& parameters, const AgentInputs& inputs,
            at::ScalarType dtype = at::kFloat);

  // fp32 [heads, rows].
  const at::Tensor& scores() const { return scores_; }

  // Adds d loss / d parameters to `gradient`, given d loss / d scores fp32 [heads, rows]. A row of
  // a head's gradient of a parameter is contiguous.
  void Backward(const at::Tensor& score_gradient, const AgentParameters& gradient) const;

  // Bytes that one entry of one head takes until the pass is dropped.
  static int64_t BytesPerEntry(const AgentShape& shape);

 private:
  // A linear layer's output through a norm: what the gradient needs of it.
  struct Normal {
    at::Tensor normal;             // [heads, rows, width]
    at::Tensor inverse_deviation;  // [heads, rows]
  };
  // y = activation(norm(x + x_bias)), x [heads, rows, width] becomes the result's `normal`; y are
  // `width` columns of a [heads, rows, ...].
  Normal Forward(const std::string& norm, const std::string& linear, bool silu, const at::Tensor& x,
                 const at::Tensor& y) const;
  // dL/dx of dL/dy; adds to the gradients of norm's weight and bias and of linear's bias.
  at::Tensor Backward(const std::string& norm, const std::string& linear, bool silu,
                      const Normal& forward, const at::Tensor& y_gradient,
                      const AgentParameters& gradient) const;

  at::Tensor Multiply(const at::Tensor& a, const at::Tensor& b) const;
  // weight_gradient [heads, out, in] += y_gradient [heads, rows, out]ᵀ · x [heads, rows, in].
  void AddWeightGradient(const at::Tensor& y_gradient, const at::Tensor& x,
                         at::Tensor weight_gradient) const;

  AgentShape shape_;
  AgentParameters parameters_;
  AgentInputs inputs_;
  at::ScalarType dtype_;
  at::Tensor
      joined_;  // [heads, rows, 2 * width + position_features], the first hidden layer's input
  Normal key_;
  Normal value_;
  Normal position_;                   // of learned features
  std::vector<Normal> hidden_;        // of each hidden layer
  std::vector<at::Tensor> activity_;  // [heads, rows, width]: each hidden layer's output
  at::Tensor scores_;
};

}  // namespace kvp

#endif  // KVP_POLICY_AGENT_PASS_H_

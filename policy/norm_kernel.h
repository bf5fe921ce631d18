// What the agents' network does between its matrix products, free of torch: layer norm, SiLU, and
// their gradients, each in one pass over rows that are still in the processor's cache.

#ifndef KVP_POLICY_NORM_KERNEL_H_
#define KVP_POLICY_NORM_KERNEL_H_

#include <cstdint>

namespace kvp {

// y = activation(norm(x + x_bias) · weight + bias) of each of `rows` rows of `width` numbers,
// norm(x) = (x − mean)/√(variance + 1e-5), the activation SiLU or none. Rows of x are contiguous,
// those of the result `stride` numbers apart. On the calling thread.
struct NormLayer {
  int64_t rows = 0;
  int64_t width = 0;
  const float* x_bias = nullptr;  // null: none
  const float* weight = nullptr;
  const float* bias = nullptr;
  bool silu = false;
};

// x becomes norm(x + x_bias); `inverse_deviation` [rows] is 1/√(variance + 1e-5).
void NormalizeRows(const NormLayer& layer, float* x, float* inverse_deviation, float* y,
                   int64_t stride);

// From dL/dy (rows `stride` apart) and what NormalizeRows left behind: writes dL/dx [rows, width],
// and adds to dL/d weight, dL/d bias and dL/d x_bias [width]. The last may be null.
struct NormGradients {
  float* x = nullptr;
  float* weight = nullptr;
  float* bias = nullptr;
  float* x_bias = nullptr;
};
void NormalizeRowsBackward(const NormLayer& layer, const float* normal,
                           const float* inverse_deviation, const float* y_gradient, int64_t stride,
                           const NormGradients& gradients);

}  // namespace kvp

#endif  // KVP_POLICY_NORM_KERNEL_H_

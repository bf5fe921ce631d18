#include "llm/rotary.h"

#include "ATen/ATen.h"

namespace kvp {

Rotation::Rotation(const at::Tensor& frequencies, const at::Tensor& positions, double scaling,
                   at::ScalarType dtype) {
  const at::Tensor angles = at::outer(positions, frequencies);
  cosines_ = angles.cos().mul_(scaling).to(dtype);
  sines_ = angles.sin().mul_(scaling).to(dtype);
}

at::Tensor Rotation::Rotate(const at::Tensor& x) const {
  const int64_t half = cosines_.size(1);
  const int64_t rest = x.size(2) - 2 * half;
  const at::Tensor first = x.narrow(2, 0, half);
  const at::Tensor second = x.narrow(2, half, half);
  const at::Tensor rotated = at::empty(x.sizes(), x.options());
  at::Tensor rotated_first = rotated.narrow(2, 0, half);
  at::Tensor rotated_second = rotated.narrow(2, half, half);
  at::mul_out(rotated_first, first, cosines_).addcmul_(second, sines_, -1);
  at::mul_out(rotated_second, second, cosines_).addcmul_(first, sines_);
  if (rest > 0) rotated.narrow(2, 2 * half, rest).copy_(x.narrow(2, 2 * half, rest));
  return rotated;
}

RotaryPositions RotaryPositionsOf(const ModelConfig& config, int64_t) {
  RotaryPositions result;
  // In fp32 throughout: at far positions its rounding is part of the model.
  const at::Tensor exponents =
      at::arange(0, config.head_dim, 2, at::kFloat).div_(static_cast<double>(config.head_dim));
  result.frequencies = at::pow(config.rope_theta, exponents).reciprocal_();
  return result;
}

}  // namespace kvp

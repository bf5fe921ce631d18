#include "llm/rotary.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

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

namespace {

// The frequency of a rotated pair, from theta^(2 pair / rotary_dim), what it is divided by; in the
// order of operations with which models run elsewhere.
using Frequency = std::function<float(float divisor, int64_t pair)>;

Frequency Llama3Frequency(const RopeConfig& rope) {
  return [&rope](float divisor, int64_t) {
    const float frequency = 1 / divisor;
    const float wavelength = static_cast<float>(2 * M_PI) / frequency;
    const auto original = static_cast<float>(rope.original_max_positions);
    const auto low = static_cast<float>(rope.low_freq_factor);
    const auto high = static_cast<float>(rope.high_freq_factor);
    const auto factor = static_cast<float>(rope.factor);
    if (wavelength > original / low) return frequency / factor;
    if (wavelength < original / high) return frequency;
    const float smooth = (original / wavelength - low) / (high - low);
    return (1 - smooth) * frequency / factor + smooth * frequency;
  };
}

// The dimension whose pair turns `rotations` times over the original length, the inverse of
// rotations = length / (2 pi theta^(dimension / rotary_dim)).
double DimensionOfRotations(const RopeConfig& rope, double rotations) {
  const auto original = static_cast<double>(rope.original_max_positions);
  return static_cast<double>(rope.rotary_dim) * std::log(original / (rotations * 2 * M_PI)) /
         (2 * std::log(rope.theta));
}

Frequency YarnFrequency(const RopeConfig& rope) {
  double low = DimensionOfRotations(rope, rope.beta_fast);
  double high = DimensionOfRotations(rope, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.rotary_dim - 1));
  if (low == high) high += 0.001;  // a step instead of a ramp
  return [=, &rope](float divisor, int64_t pair) {
    const auto position =
        (static_cast<float>(pair) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1 - std::clamp(position, 0.0f, 1.0f);
    const float interpolated = 1 / (static_cast<float>(rope.factor) * divisor);
    return interpolated * (1 - kept) + 1 / divisor * kept;
  };
}

Frequency LongRopeFrequency(const RopeConfig& rope, bool longer) {
  const std::vector<double>& factors = longer ? rope.long_factors : rope.short_factors;
  return [&factors](float divisor, int64_t pair) {
    return 1 / (static_cast<float>(factors[pair]) * divisor);
  };
}

Frequency FrequencyOf(const RopeConfig& rope, int64_t max_model_len) {
  switch (rope.type) {
    case RopeType::kDefault:
      break;
    case RopeType::kLinear:
      return
          [&rope](float divisor, int64_t) { return 1 / divisor / static_cast<float>(rope.factor); };
    case RopeType::kLlama3:
      return Llama3Frequency(rope);
    case RopeType::kYarn:
      return YarnFrequency(rope);
    case RopeType::kLongRope:
      return LongRopeFrequency(rope, max_model_len > rope.original_max_positions);
  }
  return [](float divisor, int64_t) { return 1 / divisor; };
}

}  // namespace

RotaryPositions RotaryPositionsOf(const ModelConfig& config, int64_t max_model_len) {
  const RopeConfig& rope = config.rope;
  RotaryPositions result;
  result.scaling = rope.attention_factor;
  // In fp32 throughout: at far positions its rounding is part of the model.
  const at::Tensor exponents =
      at::arange(0, rope.rotary_dim, 2, at::kFloat).div_(static_cast<double>(rope.rotary_dim));
  result.frequencies = at::pow(rope.theta, exponents);
  const Frequency frequency = FrequencyOf(rope, max_model_len);
  float* values = result.frequencies.data_ptr<float>();
  for (int64_t pair = 0; pair < rope.rotary_dim / 2; ++pair) {
    values[pair] = frequency(values[pair], pair);
  }
  return result;
}

}  // namespace kvp

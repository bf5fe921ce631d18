#include "policy/norm_kernel.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "util/vector_clones.h"

namespace kvp {
namespace {

constexpr float kNormEpsilon = 1e-5f;

// e^x to a few units in the last place, as a loop's body that vectorises: 2^n · e^r, |r| ≤ ln(2)/2,
// e^r by its Taylor series. What would over- or underflow is clamped; NaN stays.
inline float Exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float turns = x * 1.44269504f;
  const int32_t n = static_cast<int32_t>(turns + (turns < 0 ? -0.5f : 0.5f));
  const float r = x - static_cast<float>(n) * 0.69314718f;
  const float series =
      1 +
      r * (1 + r * (0.5f + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720))))));
  const int32_t bits = (n + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof(power));
  return series * power;
}

inline float Sigmoid(float x) { return 1.0f / (1.0f + Exponential(-x)); }

// Adds the bias; returns the mean.
inline float Mean(float* __restrict x, const float* __restrict x_bias, int64_t width) {
  float sum = 0;
  if (x_bias == nullptr) {
    for (int64_t i = 0; i < width; ++i) sum += x[i];
  } else {
    for (int64_t i = 0; i < width; ++i) {
      x[i] += x_bias[i];
      sum += x[i];
    }
  }
  return sum / static_cast<float>(width);
}

inline float InverseDeviation(const float* __restrict x, float mean, int64_t width) {
  float sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += (x[i] - mean) * (x[i] - mean);
  return 1.0f / std::sqrt(sum / static_cast<float>(width) + kNormEpsilon);
}

KVP_VECTOR_CLONES
void Normalize(const NormLayer& layer, float* __restrict x, float* __restrict inverse_deviation,
               float* __restrict y, int64_t stride) {
  const int64_t width = layer.width;
  const float* __restrict weight = layer.weight;
  const float* __restrict bias = layer.bias;
  for (int64_t row = 0; row < layer.rows; ++row) {
    float* __restrict x_row = x + row * width;
    float* __restrict y_row = y + row * stride;
    const float mean = Mean(x_row, layer.x_bias, width);
    const float inverse = InverseDeviation(x_row, mean, width);
    inverse_deviation[row] = inverse;
    for (int64_t i = 0; i < width; ++i) {
      const float normal = (x_row[i] - mean) * inverse;
      x_row[i] = normal;
      y_row[i] = normal * weight[i] + bias[i];
    }
    if (!layer.silu) continue;
    for (int64_t i = 0; i < width; ++i) y_row[i] *= Sigmoid(y_row[i]);
  }
}

// One row's dL/d(normal · weight + bias), with SiLU's slope in it.
inline void UndoSilu(const NormLayer& layer, const float* __restrict normal,
                     const float* __restrict y_gradient, float* __restrict gradient) {
  for (int64_t i = 0; i < layer.width; ++i) {
    const float u = normal[i] * layer.weight[i] + layer.bias[i];
    const float s = Sigmoid(u);
    gradient[i] = y_gradient[i] * s * (1 + u * (1 - s));
  }
}

KVP_VECTOR_CLONES
void NormalizeBackward(const NormLayer& layer, const float* __restrict normal,
                       const float* __restrict inverse_deviation,
                       const float* __restrict y_gradient, int64_t stride,
                       float* __restrict x_gradient, float* __restrict weight_gradient,
                       float* __restrict bias_gradient, float* __restrict x_bias_gradient,
                       float* __restrict slope) {
  const int64_t width = layer.width;
  const float* __restrict weight = layer.weight;
  const float scale = 1 / static_cast<float>(width);
  for (int64_t row = 0; row < layer.rows; ++row) {
    const float* __restrict normal_row = normal + row * width;
    const float* __restrict y_row = y_gradient + row * stride;
    float* __restrict x_row = x_gradient + row * width;
    if (layer.silu) {
      UndoSilu(layer, normal_row, y_row, slope);
    } else {
      std::memcpy(slope, y_row, width * sizeof(float));
    }
    float sum = 0;
    float product = 0;
    for (int64_t i = 0; i < width; ++i) {
      const float g = slope[i];
      const float n = normal_row[i];
      weight_gradient[i] += g * n;
      bias_gradient[i] += g;
      const float of_normal = g * weight[i];
      sum += of_normal;
      product += of_normal * n;
    }
    const float inverse = inverse_deviation[row];
    const float mean = sum * scale;
    const float correlation = product * scale;
    for (int64_t i = 0; i < width; ++i) {
      const float g = inverse * (slope[i] * weight[i] - mean - normal_row[i] * correlation);
      x_row[i] = g;
      x_bias_gradient[i] += g;
    }
  }
}

}  // namespace

void NormalizeRows(const NormLayer& layer, float* x, float* inverse_deviation, float* y,
                   int64_t stride) {
  Normalize(layer, x, inverse_deviation, y, stride);
}

void NormalizeRowsBackward(const NormLayer& layer, const float* normal,
                           const float* inverse_deviation, const float* y_gradient, int64_t stride,
                           const NormGradients& gradients) {
  std::vector<float> slope(layer.width);
  std::vector<float> unused(gradients.x_bias == nullptr ? layer.width : 0);
  NormalizeBackward(layer, normal, inverse_deviation, y_gradient, stride, gradients.x,
                    gradients.weight, gradients.bias,
                    gradients.x_bias == nullptr ? unused.data() : gradients.x_bias, slope.data());
}

}  // namespace kvp

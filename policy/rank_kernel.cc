#include "policy/rank_kernel.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "util/vector_clones.h"

namespace kvp {
namespace {

// exp of ±80 and sums of two of them are normal fp32 numbers.
constexpr float kScoreRange = 80;

// With a = exp(s): P(j before i) = a_j/(a_j + a_i), which costs a division and no exponential a
// pair.
KVP_VECTOR_CLONES
void ExpectRanksOfRow(const float* __restrict a, const float* __restrict weights, int64_t n,
                      float* __restrict ranks, float* __restrict gradient) {
  for (int64_t i = 0; i < n; ++i) {
    const float a_i = a[i];
    const float weight_i = weights[i];
    float before = 0;
    float slope = 0;
    for (int64_t j = 0; j < n; ++j) {
      const float reciprocal = 1.0f / (a[j] + a_i);
      const float p = a[j] * reciprocal;
      before += p;
      slope += (weights[j] - weight_i) * (p * (a_i * reciprocal));
    }
    // j = i gave 1/2 to `before`, nothing to `slope`.
    ranks[i] = before + 0.5f;
    gradient[i] = slope;
  }
}

}  // namespace

void ExpectRanksOfRows(const float* scores, const float* weights, int64_t rows, int64_t n,
                       float* ranks, float* gradient) {
  std::vector<float> a(n);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t offset = row * n;
    if (n == 0) continue;
    const auto [lowest, highest] = std::minmax_element(scores + offset, scores + offset + n);
    const float middle = *lowest + (*highest - *lowest) / 2;
    for (int64_t i = 0; i < n; ++i) {
      a[i] = std::exp(std::clamp(scores[offset + i] - middle, -kScoreRange, kScoreRange));
    }
    ExpectRanksOfRow(a.data(), weights + offset, n, ranks + offset, gradient + offset);
  }
}

}  // namespace kvp

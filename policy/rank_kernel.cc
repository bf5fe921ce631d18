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
// pair. Sums over all m columns, an entry's own included: that is 1/2 of the first, 0 of the
// second.
KVP_VECTOR_CLONES
void SumProbabilities(const float* __restrict a, int64_t n, const float* __restrict column_a,
                      int64_t m, float* __restrict before) {
  for (int64_t i = 0; i < n; ++i) {
    const float a_i = a[i];
    float sum = 0;
    for (int64_t j = 0; j < m; ++j) sum += column_a[j] / (column_a[j] + a_i);
    before[i] = sum;
  }
}

KVP_VECTOR_CLONES
void SumSlopes(const float* __restrict a, const float* __restrict weights, int64_t n,
               const float* __restrict column_a, const float* __restrict column_weights, int64_t m,
               float* __restrict slopes) {
  for (int64_t i = 0; i < n; ++i) {
    const float a_i = a[i];
    const float weight_i = weights[i];
    float sum = 0;
    for (int64_t j = 0; j < m; ++j) {
      const float reciprocal = 1.0f / (column_a[j] + a_i);
      sum += (column_weights[j] - weight_i) * (column_a[j] * reciprocal * reciprocal);
    }
    slopes[i] = sum * a_i;
  }
}

KVP_VECTOR_CLONES
void SumBoth(const float* __restrict a, const float* __restrict weights, int64_t n,
             const float* __restrict column_a, const float* __restrict column_weights, int64_t m,
             float* __restrict before, float* __restrict slopes) {
  for (int64_t i = 0; i < n; ++i) {
    const float a_i = a[i];
    const float weight_i = weights[i];
    float sum = 0;
    float slope = 0;
    for (int64_t j = 0; j < m; ++j) {
      const float reciprocal = 1.0f / (column_a[j] + a_i);
      const float p = column_a[j] * reciprocal;
      sum += p;
      slope += (column_weights[j] - weight_i) * (p * (a_i * reciprocal));
    }
    before[i] = sum;
    slopes[i] = slope;
  }
}

std::vector<float> Gather(const float* values, const RankProblem& problem) {
  std::vector<float> gathered(problem.compared);
  for (int64_t c = 0; c < problem.compared; ++c) gathered[c] = values[problem.columns[c]];
  return gathered;
}

}  // namespace

void ExpectRanksOfContext(const RankProblem& problem, float* ranks, float* gradient) {
  const int64_t n = problem.n;
  if (n == 0) return;
  std::vector<float> a(n);
  const auto [lowest, highest] = std::minmax_element(problem.scores, problem.scores + n);
  const float middle = *lowest + (*highest - *lowest) / 2;
  for (int64_t i = 0; i < n; ++i) {
    a[i] = std::exp(std::clamp(problem.scores[i] - middle, -kScoreRange, kScoreRange));
  }
  const bool all = problem.columns == nullptr;
  const int64_t m = all ? n : problem.compared;
  const std::vector<float> gathered_a = all ? std::vector<float>() : Gather(a.data(), problem);
  const float* column_a = all ? a.data() : gathered_a.data();
  if (gradient == nullptr) {
    SumProbabilities(a.data(), n, column_a, m, ranks);
  } else {
    const std::vector<float> gathered_weights =
        all ? std::vector<float>() : Gather(problem.weights, problem);
    const float* column_weights = all ? problem.weights : gathered_weights.data();
    if (ranks == nullptr) {
      SumSlopes(a.data(), problem.weights, n, column_a, column_weights, m, gradient);
    } else {
      SumBoth(a.data(), problem.weights, n, column_a, column_weights, m, ranks, gradient);
    }
  }
  // The others of an entry that is no column are sampled m times, those of a column m − 1 times.
  const auto scale = [&](int64_t sampled) {
    return sampled == 0 ? 0.0f : static_cast<float>(n - 1) / static_cast<float>(sampled);
  };
  int64_t c = 0;
  for (int64_t i = 0; i < n; ++i) {
    const bool is_column = all || (c < m && problem.columns[c] == i);
    if (is_column) ++c;
    const float of_all = all ? 1 : scale(is_column ? m - 1 : m);
    if (ranks != nullptr) ranks[i] = 1 + (ranks[i] - (is_column ? 0.5f : 0)) * of_all;
    if (gradient != nullptr) gradient[i] *= of_all;
  }
}

}  // namespace kvp

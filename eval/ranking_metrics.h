// How good a ranking of cache entries is, given what the future made of them.

#ifndef KVP_EVAL_RANKING_METRICS_H_
#define KVP_EVAL_RANKING_METRICS_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace kvp {

// All of them fp64; NaN for a head whose importance is zero everywhere: no ranking is better than
// another there.
struct RankingMetrics {
  // [heads]: R(ranking) / R(oracle's ranking), R = sum over ranks r = 1..n of r · I (Moschella et
  // al., arXiv 2602.10238, as its code counts ranks); 1 for the oracle, larger is worse.
  at::Tensor cost;
  // [heads, budgets]: share of the importance that the first round(budget · n) entries hold (at
  // least one entry), or as many as the head has of its own.
  at::Tensor retained;
};

// Measures the pure ranking by descending `scores` [heads, n], no entry protected, ties going to
// the earlier entry. One sort and one cumulative sum give every budget. `importance` [heads, n],
// not negative; budgets are fractions. `head_budgets`, where it isn't empty, says how many entries
// head h keeps at budget b: head_budgets[b][h].
//
// INVALID_ARGUMENT for shapes that differ, a budget outside (0, 1], scores that are no number, or
// importance that is negative or not finite. Thread-safe.
absl::StatusOr<RankingMetrics> MeasureRanking(
    const at::Tensor& scores, const at::Tensor& importance, absl::Span<const double> budgets,
    absl::Span<const std::vector<int64_t>> head_budgets = {});

}  // namespace kvp

#endif  // KVP_EVAL_RANKING_METRICS_H_

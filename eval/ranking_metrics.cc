#include "eval/ranking_metrics.h"

#include <limits>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/mv.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "policy/selection.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<RankingMetrics> MeasureRanking(const at::Tensor& scores,
                                              const at::Tensor& importance,
                                              absl::Span<const double> budgets) {
  const at::NoGradGuard no_gradients;
  if (scores.dim() != 2 || scores.sizes() != importance.sizes() || scores.size(1) < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores [", absl::StrJoin(scores.sizes(), ", "), "] and importance [",
                     absl::StrJoin(importance.sizes(), ", "), "] aren't both [heads, tokens]"));
  }
  if (scores.isnan().any().item<bool>()) {
    return absl::InvalidArgumentError("scores hold a value that is no number");
  }
  const at::Tensor weights = importance.to(at::kDouble);
  if (!(weights.isfinite().all().item<bool>() && weights.ge(0).all().item<bool>())) {
    return absl::InvalidArgumentError("importance holds a value that is negative or not finite");
  }

  const int64_t tokens = scores.size(1);
  const at::Tensor ranked = weights.gather(1, Ranking(scores, ProtectedTokens{0, 0}));
  const at::Tensor best = std::get<0>(weights.sort(1, /*descending=*/true));
  const at::Tensor ranks = at::arange(1, tokens + 1, weights.options());
  const at::Tensor cumulative = ranked.cumsum(1);
  const at::Tensor total = cumulative.select(1, tokens - 1);
  const at::Tensor no_future = total.eq(0);

  RankingMetrics metrics;
  metrics.cost = at::mv(ranked, ranks).div(at::mv(best, ranks));
  metrics.cost.masked_fill_(no_future, std::numeric_limits<double>::quiet_NaN());
  metrics.retained =
      at::empty({scores.size(0), static_cast<int64_t>(budgets.size())}, weights.options());
  for (size_t i = 0; i < budgets.size(); ++i) {
    ASSIGN_OR_RETURN(const int64_t kept, BudgetTokens(budgets[i], tokens));
    // 0 / 0 is the NaN that a head without a future has.
    metrics.retained.select(1, static_cast<int64_t>(i))
        .copy_(cumulative.select(1, kept - 1).div(total));
  }
  return metrics;
}

}  // namespace kvp

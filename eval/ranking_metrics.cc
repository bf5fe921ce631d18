#include "eval/ranking_metrics.h"

#include <algorithm>
#include <limits>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "ATen/ops/mv.h"
#include "ATen/ops/tensor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "policy/selection.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<RankingMetrics> MeasureRanking(const at::Tensor& scores,
                                              const at::Tensor& importance,
                                              absl::Span<const double> budgets,
                                              absl::Span<const std::vector<int64_t>> head_budgets) {
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
  if (!head_budgets.empty() && head_budgets.size() != budgets.size()) {
    return absl::InvalidArgumentError(absl::StrCat("heads have ", head_budgets.size(),
                                                   " budgets of their own, not ", budgets.size()));
  }
  for (const std::vector<int64_t>& heads : head_budgets) {
    if (static_cast<int64_t>(heads.size()) != scores.size(0) ||
        std::any_of(heads.begin(), heads.end(),
                    [tokens](int64_t kept) { return kept < 1 || kept > tokens; })) {
      return absl::InvalidArgumentError(
          absl::StrCat("budgets of heads [", absl::StrJoin(heads, ", "), "] aren't ",
                       scores.size(0), " numbers in [1, ", tokens, "]"));
    }
  }
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
    ASSIGN_OR_RETURN(const int64_t mean, BudgetTokens(budgets[i], tokens));
    const at::Tensor kept =
        head_budgets.empty() ? at::full({scores.size(0)}, mean, weights.options().dtype(at::kLong))
                             : at::tensor(head_budgets[i], at::kLong).to(weights.device());
    // 0 / 0 is the NaN that a head without a future has.
    metrics.retained.select(1, static_cast<int64_t>(i))
        .copy_(cumulative.gather(1, kept.sub(1).unsqueeze(1)).squeeze(1).div(total));
  }
  return metrics;
}

}  // namespace kvp

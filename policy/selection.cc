#include "policy/selection.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"

namespace kvp {

absl::StatusOr<int64_t> BudgetTokens(double fraction, int64_t tokens) {
  if (!(fraction > 0 && fraction <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("budget ", fraction, " isn't in (0, 1]"));
  }
  if (tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("tokens ", tokens, " isn't positive"));
  }
  return std::max<int64_t>(1, std::llround(fraction * static_cast<double>(tokens)));
}

at::Tensor Ranking(const at::Tensor& scores, const ProtectedTokens& protected_tokens) {
  const at::NoGradGuard no_gradients;
  const int64_t tokens = scores.size(-1);
  // A score that is no number is worth least, rather than most as in torch's order.
  const at::Tensor clean =
      at::where(scores.isnan(), -std::numeric_limits<double>::infinity(), scores.to(at::kDouble));
  at::Tensor ranking = std::get<1>(at::sort(clean, /*stable=*/true, -1, /*descending=*/true));
  const at::Tensor index = at::arange(tokens, ranking.options());
  const at::Tensor is_protected =
      (index < protected_tokens.sinks).logical_or(index >= tokens - protected_tokens.recent);
  const at::Tensor protected_first =
      std::get<1>(at::sort(is_protected.to(at::kInt).index({ranking}), /*stable=*/true, -1,
                           /*descending=*/true));
  return ranking.gather(-1, protected_first);
}

absl::StatusOr<at::Tensor> SelectKept(const at::Tensor& scores, int64_t budget,
                                      const ProtectedTokens& protected_tokens) {
  const int64_t tokens = scores.size(-1);
  if (budget < 1 || budget > tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("budget ", budget, " isn't in [1, ", tokens, "]"));
  }
  const at::Tensor kept = Ranking(scores, protected_tokens).narrow(-1, 0, budget);
  return std::get<0>(kept.sort(-1));
}

}  // namespace kvp

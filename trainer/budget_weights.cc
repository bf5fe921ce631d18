#include "trainer/budget_weights.h"

#include <algorithm>
#include <cmath>

#include "ATen/ATen.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace kvp {

absl::StatusOr<BudgetWeights> BudgetWeights::Parse(absl::string_view text) {
  BudgetWeights weights;
  if (text == "uniform") return weights;
  if (text == "inverse") {
    weights.inverse_ = true;
    return weights;
  }
  double total = 0;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::vector<absl::string_view> pair = absl::StrSplit(part, ':');
    double share = 0;
    double weight = 0;
    if (pair.size() != 2 || !absl::SimpleAtod(pair[0], &share) ||
        !absl::SimpleAtod(pair[1], &weight) || !(share >= 0 && share < 1) || !(weight >= 0) ||
        !std::isfinite(weight)) {
      return absl::InvalidArgumentError(
          absl::StrCat("budget_weights is \"", text, "\": \"", part,
                       "\" isn't SHARE:WEIGHT with a share in [0, 1) and a weight of 0 or more; "
                       "there are also uniform and inverse"));
    }
    weights.shares_.emplace_back(share, weight);
    total += weight;
  }
  if (total > 0) return weights;
  return absl::InvalidArgumentError(
      absl::StrCat("budget_weights is \"", text, "\": all weights are 0"));
}

at::Tensor BudgetWeights::RankCosts(int64_t n) const {
  at::Tensor of_budgets = at::zeros({n}, at::kDouble);
  if (inverse_) {
    of_budgets = at::arange(1, n + 1, at::kDouble).reciprocal();
  } else if (shares_.empty()) {
    of_budgets.fill_(1);
  }
  for (const auto& [share, weight] : shares_) {
    const int64_t budget =
        std::min(n - 1, static_cast<int64_t>(std::llround(share * static_cast<double>(n))));
    of_budgets[budget] += weight;
  }
  return of_budgets.cumsum(0);
}

}  // namespace kvp

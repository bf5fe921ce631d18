// How much each budget counts in a sampled reward.

#ifndef KVP_TRAINER_BUDGET_WEIGHTS_H_
#define KVP_TRAINER_BUDGET_WEIGHTS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

// Weights w_b ≥ 0 of the budgets b = 0 … n − 1 of a context of any n entries. Evicting an entry of
// rank r costs what the budgets below r weigh, c_r = Σ_{b<r} w_b, times its importance. Immutable.
class BudgetWeights {
 public:
  // "uniform": w_b = 1, c_r = r. "inverse": w_b = 1/(b + 1), c_r = 1 + 1/2 + … + 1/r: every halving
  // of the cache counts about the same. Else "SHARE:WEIGHT,…": those shares of the entries alone,
  // for instance "0.125:1,0.0625:2". INVALID_ARGUMENT naming what is neither.
  static absl::StatusOr<BudgetWeights> Parse(absl::string_view text);

  // c_1 … c_n: fp64 [n].
  at::Tensor RankCosts(int64_t n) const;

 private:
  bool inverse_ = false;
  std::vector<std::pair<double, double>> shares_;  // and their weights
};

}  // namespace kvp

#endif  // KVP_TRAINER_BUDGET_WEIGHTS_H_

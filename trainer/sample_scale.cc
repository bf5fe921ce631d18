#include "trainer/sample_scale.h"

#include "ATen/ATen.h"

namespace kvp {

at::Tensor InverseOrZero(const at::Tensor& x) {
  return at::where(x == 0, at::zeros_like(x), x.reciprocal());
}

double OthersScale(const ObjectiveInput& input) {
  const double n = static_cast<double>(input.entries);
  const double m = static_cast<double>(input.scores.size(1));
  return m < 2 ? 1 : (n - 1) / (m - 1);
}

double PairScale(const ObjectiveInput& input) {
  const double n = static_cast<double>(input.entries);
  const double m = static_cast<double>(input.scores.size(1));
  return m < 2 ? 1 : OthersScale(input) * n / m;
}

at::Tensor CostOfSample(const ObjectiveInput& input, const at::Tensor& pair_cost) {
  const double entry_scale =
      static_cast<double>(input.entries) / static_cast<double>(input.scores.size(1));
  const at::Tensor own_cost = input.importance.to(at::kDouble).sum(-1);
  const at::Tensor cost = pair_cost * PairScale(input) + own_cost * entry_scale;
  return at::where(input.oracle_cost == 0, at::ones_like(cost),
                   cost * InverseOrZero(input.oracle_cost));
}

at::Tensor CostSlope(const ObjectiveInput& input) {
  return (InverseOrZero(input.oracle_cost) * PairScale(input)).to(at::kFloat).unsqueeze(-1);
}

}  // namespace kvp

#include "trainer/supervised_objectives.h"

#include "ATen/ATen.h"
#include "trainer/sample_scale.h"

namespace kvp {
namespace {

constexpr double kSmallestTarget = 1e-3;

class RegressionObjective : public Objective {
 public:
  ObjectiveResult Evaluate(const ObjectiveInput& input) const override {
    const at::Tensor mean = input.importance.mean(-1, /*keepdim=*/true);
    const at::Tensor target = (input.importance * InverseOrZero(mean) + kSmallestTarget).log();
    const at::Tensor difference =
        at::where(mean == 0, at::zeros({1}, mean.options()), input.scores - target);
    return {difference.to(at::kDouble).pow(2).mean(-1),
            difference * (2 / static_cast<double>(difference.size(1)))};
  }
};

class ListwiseObjective : public Objective {
 public:
  ObjectiveResult Evaluate(const ObjectiveInput& input) const override {
    const at::Tensor sum = input.importance.sum(-1, /*keepdim=*/true);
    const at::Tensor target = input.importance * InverseOrZero(sum);
    const at::Tensor log_softmax = input.scores.log_softmax(-1);
    const at::Tensor entropy_terms =
        at::where(target == 0, at::zeros_like(target), target * target.log());
    return {(entropy_terms - target * log_softmax).to(at::kDouble).sum(-1),
            at::where(sum == 0, at::zeros({1}, sum.options()), log_softmax.exp() - target)};
  }
};

}  // namespace

std::unique_ptr<Objective> NewRegressionObjective() {
  return std::make_unique<RegressionObjective>();
}

std::unique_ptr<Objective> NewListwiseObjective() { return std::make_unique<ListwiseObjective>(); }

}  // namespace kvp

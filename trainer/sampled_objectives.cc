#include "trainer/sampled_objectives.h"

#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "policy/plackett_luce.h"
#include "policy/seeded_random.h"
#include "trainer/sample_scale.h"

namespace kvp {
namespace {

constexpr double kLargestAdvantage = 2;
constexpr double kSmallestDeviation = 1e-8;

// int64 [heads, count, n].
at::Tensor DrawRankings(const ObjectiveInput& input, int64_t count) {
  std::vector<at::Tensor> noise;
  noise.reserve(input.seeds.size());
  for (const uint64_t seed : input.seeds) {
    noise.push_back(SeededGumbel({count, input.scores.size(1)}, seed));
  }
  return SampleRankings(input.scores.unsqueeze(1), at::stack(noise).to(input.scores.device()));
}

class RlooObjective : public Objective {
 public:
  RlooObjective(int64_t permutations, bool uniform, BudgetWeights weights)
      : permutations_(permutations), uniform_(uniform), weights_(std::move(weights)) {}

  ObjectiveResult Evaluate(const ObjectiveInput& input) const override {
    const at::Tensor rankings = DrawRankings(input, permutations_);  // [heads, K, n]
    const at::Tensor rank_costs =
        uniform_ ? at::Tensor()
                 : weights_.RankCosts(input.scores.size(1)).to(input.scores.device());
    const at::Tensor costs =
        RankingReward(rankings, input.importance.unsqueeze(1), rank_costs).neg();  // [heads, K]
    const at::Tensor others = (costs.sum(-1, true) - costs) / (permutations_ - 1);
    const at::Tensor advantages = (costs - others).to(at::kFloat).unsqueeze(-1);  // [heads, K, 1]
    const at::Tensor gradient =
        (advantages * LogProbabilityGradient(input.scores.unsqueeze(1), rankings)).mean(1);
    const at::Tensor cost = costs.mean(-1);
    const at::Tensor importance = input.importance.to(at::kDouble).sum(-1);
    if (uniform_) {
      return {CostOfSample(input, cost - importance), gradient * CostSlope(input)};
    }
    const at::Tensor slope = InverseOrZero(importance * rank_costs[-1]);
    return {cost * slope, gradient * slope.to(at::kFloat).unsqueeze(-1)};
  }

 private:
  const int64_t permutations_;
  const bool uniform_;
  const BudgetWeights weights_;
};

class PaperObjective : public Objective {
 public:
  bool couples_contexts() const override { return true; }

  ObjectiveResult Evaluate(const ObjectiveInput& context) const override {
    return EvaluateBatch({&context, 1})[0];
  }

  std::vector<ObjectiveResult> EvaluateBatch(
      absl::Span<const ObjectiveInput> batch) const override {
    std::vector<ObjectiveResult> results;
    std::vector<at::Tensor> counted;  // [heads] each: 1 where the head has importance, else 0
    for (const ObjectiveInput& input : batch) {
      const at::Tensor rankings = DrawRankings(input, 1).squeeze(1);  // [heads, n]
      const at::Tensor pair_cost = RankingReward(rankings, input.importance).neg() -
                                   input.importance.to(at::kDouble).sum(-1);
      results.push_back(
          {CostOfSample(input, pair_cost), LogProbabilityGradient(input.scores, rankings)});
      counted.push_back((input.oracle_cost != 0).to(at::kDouble));
    }
    std::vector<at::Tensor> costs;
    for (const ObjectiveResult& result : results) costs.push_back(result.loss);
    const at::Tensor advantages =
        Advantages(at::stack(costs), at::stack(counted)).to(at::kFloat);  // [contexts, heads]
    for (size_t context = 0; context < results.size(); ++context) {
      results[context].gradient.mul_(advantages[static_cast<int64_t>(context)].unsqueeze(-1));
    }
    return results;
  }

 private:
  static at::Tensor Advantages(const at::Tensor& costs, const at::Tensor& counted) {
    const at::Tensor count = counted.sum(0, /*keepdim=*/true);
    const at::Tensor sum = (costs * counted).sum(0, /*keepdim=*/true);
    const at::Tensor baseline = (sum - costs) / (count - 1).clamp_min(1);
    at::Tensor advantages = (costs - baseline) * counted;
    // Its mean is 0: a leave-one-out difference is n/(n − 1) times the one from the mean.
    const at::Tensor deviation =
        (advantages.pow(2).sum(0, /*keepdim=*/true) / (count - 1).clamp_min(1)).sqrt();
    advantages = advantages / (deviation + kSmallestDeviation);
    return at::where(count < 2, at::zeros_like(advantages),
                     advantages.clamp(-kLargestAdvantage, kLargestAdvantage));
  }
};

}  // namespace

std::unique_ptr<Objective> NewRlooObjective(int64_t permutations, bool uniform,
                                            BudgetWeights weights) {
  return std::make_unique<RlooObjective>(permutations, uniform, std::move(weights));
}

std::unique_ptr<Objective> NewPaperObjective() { return std::make_unique<PaperObjective>(); }

}  // namespace kvp

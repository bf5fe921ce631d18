#include "trainer/objective.h"

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "policy/plackett_luce.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

// 1/x, and 0 where x is 0.
at::Tensor InverseOrZero(const at::Tensor& x) {
  return at::where(x == 0, at::zeros_like(x), x.reciprocal());
}

// With m of n entries drawn, a sum over pairs of them is this much short of the sum over all pairs,
// on average.
double PairScale(const ObjectiveInput& input) {
  const double n = static_cast<double>(input.entries);
  const double m = static_cast<double>(input.scores.size(1));
  return m < 2 ? 1 : n * (n - 1) / (m * (m - 1));
}
double EntryScale(const ObjectiveInput& input) {
  return static_cast<double>(input.entries) / static_cast<double>(input.scores.size(1));
}

// The loss of a cost on a sample: `pair_cost` is Σ_i I_i·(rank_i − 1) over the sample; heads
// without importance cost 1.
at::Tensor Loss(const ObjectiveInput& input, const at::Tensor& pair_cost) {
  const at::Tensor own_cost = input.importance.to(at::kDouble).sum(-1);
  const at::Tensor cost = pair_cost * PairScale(input) + own_cost * EntryScale(input);
  return at::where(input.oracle_cost == 0, at::ones_like(cost),
                   cost * InverseOrZero(input.oracle_cost));
}

at::Tensor GradientScale(const ObjectiveInput& input) {
  return (InverseOrZero(input.oracle_cost) * PairScale(input)).to(at::kFloat).unsqueeze(-1);
}

class ExactObjective : public Objective {
 public:
  ObjectiveResult Evaluate(const ObjectiveInput& input) const override {
    const RankExpectations expected = ExpectRanks(input.scores, input.importance);
    const at::Tensor pair_cost = (input.importance.to(at::kDouble) * (expected.ranks - 1)).sum(-1);
    return {Loss(input, pair_cost), expected.gradient * GradientScale(input)};
  }
};

class RlooObjective : public Objective {
 public:
  explicit RlooObjective(int64_t permutations) : permutations_(permutations) {}

  ObjectiveResult Evaluate(const ObjectiveInput& input) const override {
    const int64_t n = input.scores.size(1);
    std::vector<at::Tensor> noise;
    noise.reserve(input.seeds.size());
    for (const uint64_t seed : input.seeds) noise.push_back(SeededGumbel({permutations_, n}, seed));
    const at::Tensor scores = input.scores.unsqueeze(1);                   // [heads, 1, n]
    const at::Tensor importance = input.importance.unsqueeze(1);           // [heads, 1, n]
    const at::Tensor rankings = SampleRankings(scores, at::stack(noise));  // [heads, K, n]
    const at::Tensor costs = RankingReward(rankings, importance).neg();    // [heads, K]
    const at::Tensor others = (costs.sum(-1, true) - costs) / (permutations_ - 1);
    const at::Tensor advantages = (costs - others).to(at::kFloat).unsqueeze(-1);  // [heads, K, 1]
    const at::Tensor gradient = (advantages * LogProbabilityGradient(scores, rankings)).mean(1);
    const at::Tensor pair_cost = costs.mean(-1) - input.importance.to(at::kDouble).sum(-1);
    return {Loss(input, pair_cost), gradient * GradientScale(input)};
  }

 private:
  const int64_t permutations_;
};

class LogRankObjective : public Objective {
 public:
  ObjectiveResult Evaluate(const ObjectiveInput& input) const override {
    const double n = static_cast<double>(input.entries);
    const double m = static_cast<double>(input.scores.size(1));
    const double others = m < 2 ? 1 : (n - 1) / (m - 1);
    // What each entry's log rank weighs: its share of all importance.
    const at::Tensor share =
        input.importance * InverseOrZero(input.importance.sum(-1, /*keepdim=*/true));
    const at::Tensor ranks = (ExpectRanks(input.scores, share).ranks - 1) * others + 1;
    const RankExpectations slopes = ExpectRanks(input.scores, share / ranks);
    return {(share.to(at::kDouble) * ranks.to(at::kDouble).log()).sum(-1),
            slopes.gradient * others};
  }
};

class SumObjective : public Objective {
 public:
  explicit SumObjective(double log_rank_weight) : log_rank_weight_(log_rank_weight) {}

  ObjectiveResult Evaluate(const ObjectiveInput& input) const override {
    const ObjectiveResult exact = exact_.Evaluate(input);
    const ObjectiveResult log_rank = log_rank_.Evaluate(input);
    return {exact.loss + log_rank.loss * log_rank_weight_,
            exact.gradient + log_rank.gradient * log_rank_weight_};
  }

 private:
  const double log_rank_weight_;
  const ExactObjective exact_;
  const LogRankObjective log_rank_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Objective>> MakeObjective(const ObjectiveOptions& options) {
  if (options.name == "exact") return std::make_unique<ExactObjective>();
  if (options.name == "rloo") {
    if (options.permutations < 2) {
      return absl::InvalidArgumentError(absl::StrCat("permutations is ", options.permutations,
                                                     ": a leave-one-out baseline needs two"));
    }
    return std::make_unique<RlooObjective>(options.permutations);
  }
  if (options.name == "log_rank") return std::make_unique<LogRankObjective>();
  if (options.name == "exact+log_rank") {
    if (!(options.log_rank_weight >= 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("log_rank_weight is ", options.log_rank_weight));
    }
    return std::make_unique<SumObjective>(options.log_rank_weight);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "objective is \"", options.name, "\"; there are exact, rloo, log_rank, exact+log_rank"));
}

}  // namespace kvp

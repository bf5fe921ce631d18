#include "trainer/closed_form_objectives.h"

#include "ATen/ATen.h"
#include "policy/plackett_luce.h"
#include "policy/seeded_random.h"
#include "trainer/sample_scale.h"

namespace kvp {
namespace {

// int64 [heads, pairs]: whom entries are compared with; undefined for all.
at::Tensor Columns(const ObjectiveInput& input, int64_t pairs) {
  const int64_t n = input.scores.size(1);
  if (pairs == 0 || pairs >= n) return {};
  std::vector<at::Tensor> of_heads;
  of_heads.reserve(input.seeds.size());
  for (const uint64_t seed : input.seeds) {
    of_heads.push_back(at::tensor(SeededSubset(n, pairs, seed), at::kLong));
  }
  return at::stack(of_heads).to(input.scores.device());
}

at::Tensor PairCost(const ObjectiveInput& input, const at::Tensor& ranks) {
  return (input.importance.to(at::kDouble) * (ranks - 1)).sum(-1);
}

class ExactObjective : public Objective {
 public:
  explicit ExactObjective(int64_t pairs) : pairs_(pairs) {}

  ObjectiveResult Evaluate(const ObjectiveInput& input) const override {
    const RankExpectations expected =
        ExpectRanks(input.scores, input.importance, Columns(input, pairs_));
    return {CostOfSample(input, PairCost(input, expected.ranks)),
            expected.gradient * CostSlope(input)};
  }

 private:
  const int64_t pairs_;
};

class LogRankObjective : public Objective {
 public:
  LogRankObjective(double exact_weight, double log_rank_weight, int64_t pairs)
      : exact_weight_(exact_weight), log_rank_weight_(log_rank_weight), pairs_(pairs) {}

  ObjectiveResult Evaluate(const ObjectiveInput& input) const override {
    const at::Tensor columns = Columns(input, pairs_);
    const double others = OthersScale(input);
    const at::Tensor sample_ranks = ExpectedRanks(input.scores, columns);
    const at::Tensor ranks = (sample_ranks - 1) * others + 1;
    // What each entry's log rank weighs: its share of all importance.
    const at::Tensor share =
        input.importance * InverseOrZero(input.importance.sum(-1, /*keepdim=*/true));
    ObjectiveResult result;
    result.loss = (share.to(at::kDouble) * ranks.to(at::kDouble).log()).sum(-1) * log_rank_weight_;
    // Both parts are weighted sums of expected ranks to first order: one gradient does for both.
    at::Tensor weights = share / ranks * (others * log_rank_weight_);
    if (exact_weight_ != 0) {
      result.loss += CostOfSample(input, PairCost(input, sample_ranks)) * exact_weight_;
      weights += input.importance * CostSlope(input) * exact_weight_;
    }
    result.gradient = ExpectedRankGradient(input.scores, weights, columns);
    return result;
  }

 private:
  const double exact_weight_;
  const double log_rank_weight_;
  const int64_t pairs_;
};

}  // namespace

std::unique_ptr<Objective> NewExactObjective(int64_t pairs) {
  return std::make_unique<ExactObjective>(pairs);
}

std::unique_ptr<Objective> NewLogRankObjective(double exact_weight, double log_rank_weight,
                                               int64_t pairs) {
  return std::make_unique<LogRankObjective>(exact_weight, log_rank_weight, pairs);
}

}  // namespace kvp

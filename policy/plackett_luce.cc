#include "policy/plackett_luce.h"

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "policy/rank_kernel.h"

namespace kvp {
namespace {

// Scores in the order of the rankings, and log Σ_{r' ≥ r} exp of them, both in the rankings' shape.
struct Ordered {
  at::Tensor scores;
  at::Tensor log_tail;
};

Ordered Order(const at::Tensor& scores, const at::Tensor& rankings) {
  Ordered ordered;
  ordered.scores = scores.expand(rankings.sizes()).gather(-1, rankings);
  ordered.log_tail = ordered.scores.flip({-1}).logcumsumexp(-1).flip({-1});
  return ordered;
}

at::Tensor Ranks(int64_t n) { return at::arange(1, n + 1, at::kDouble); }

at::Tensor InOrder(const at::Tensor& rankings, const at::Tensor& importance) {
  return importance.to(at::kDouble).expand(rankings.sizes()).gather(-1, rankings);
}

}  // namespace

at::Tensor SampleRankings(const at::Tensor& scores, const at::Tensor& gumbel) {
  return (scores + gumbel).argsort(-1, /*descending=*/true);
}

at::Tensor LogProbability(const at::Tensor& scores, const at::Tensor& rankings) {
  const Ordered ordered = Order(scores, rankings);
  return (ordered.scores - ordered.log_tail).sum(-1);
}

at::Tensor LogProbabilityGradient(const at::Tensor& scores, const at::Tensor& rankings) {
  const Ordered ordered = Order(scores, rankings);
  // The entry of rank r was a candidate in the draws 1..r: 1 − Σ_{r' ≤ r} exp(s_{σ_r} −
  // log_tail_{r'}).
  const at::Tensor drawn = (ordered.scores + ordered.log_tail.neg().logcumsumexp(-1)).exp();
  return at::empty_like(drawn).scatter_(-1, rankings, 1 - drawn);
}

at::Tensor RankingReward(const at::Tensor& rankings, const at::Tensor& importance) {
  return InOrder(rankings, importance).matmul(Ranks(rankings.size(-1))).neg();
}

at::Tensor OracleReward(const at::Tensor& importance) {
  const at::Tensor sorted = std::get<0>(importance.to(at::kDouble).sort(-1, /*descending=*/true));
  return sorted.matmul(Ranks(importance.size(-1))).neg();
}

at::Tensor RankingCost(const at::Tensor& rankings, const at::Tensor& importance) {
  const at::Tensor reward = RankingReward(rankings, importance);
  const at::Tensor oracle = OracleReward(importance).expand_as(reward);
  return at::where(oracle == 0, at::ones_like(reward), reward / oracle);
}

at::Tensor RetainedMass(const at::Tensor& rankings, const at::Tensor& importance,
                        const std::vector<int64_t>& budgets) {
  const at::Tensor kept = InOrder(rankings, importance).cumsum(-1);
  const at::Tensor total = kept.narrow(-1, kept.size(-1) - 1, 1);
  const at::Tensor columns = at::tensor(budgets, at::kLong) - 1;
  return at::where(total == 0, at::ones({1}, at::kDouble), kept.index_select(-1, columns) / total);
}

RankExpectations ExpectRanks(const at::Tensor& scores, const at::Tensor& weights) {
  const at::NoGradGuard no_gradients;
  const int64_t n = scores.size(-1);
  const at::Tensor flat_scores = scores.to(at::kFloat).contiguous();
  const at::Tensor flat_weights = weights.to(at::kFloat).expand(scores.sizes()).contiguous();
  RankExpectations result;
  result.ranks = at::empty_like(flat_scores);
  result.gradient = at::empty_like(flat_scores);
  ExpectRanksOfRows(flat_scores.data_ptr<float>(), flat_weights.data_ptr<float>(),
                    n == 0 ? 0 : scores.numel() / n, n, result.ranks.data_ptr<float>(),
                    result.gradient.data_ptr<float>());
  return result;
}

ExpectedReward ExactExpectedReward(const at::Tensor& scores, const at::Tensor& importance) {
  const at::NoGradGuard no_gradients;
  const RankExpectations expected = ExpectRanks(scores, importance);
  ExpectedReward result;
  result.reward = (importance.to(at::kDouble) * expected.ranks).sum(-1).neg();
  result.gradient = expected.gradient.neg();
  return result;
}

}  // namespace kvp

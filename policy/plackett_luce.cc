#include "policy/plackett_luce.h"

#include <algorithm>
#include <vector>

#include "ATen/ATen.h"
#include "ATen/Parallel.h"
#include "ATen/core/grad_mode.h"
#include "policy/rank_kernel.h"

namespace kvp {
namespace {

// Bounds the memory of ExpectRanksBlockwise: a few tensors of so many numbers.
constexpr int64_t kPairsOfBlock = int64_t{1} << 24;

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

at::Tensor Ranks(const at::Tensor& like) {
  return at::arange(1, like.size(-1) + 1, like.options().dtype(at::kDouble));
}

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

at::Tensor RankingReward(const at::Tensor& rankings, const at::Tensor& importance,
                         const at::Tensor& rank_costs) {
  const at::Tensor costs = rank_costs.defined() ? rank_costs : Ranks(rankings);
  return InOrder(rankings, importance).matmul(costs).neg();
}

at::Tensor OracleReward(const at::Tensor& importance) {
  const at::Tensor sorted = std::get<0>(importance.to(at::kDouble).sort(-1, /*descending=*/true));
  return sorted.matmul(Ranks(importance)).neg();
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
  const at::Tensor columns = at::tensor(budgets, at::kLong).to(kept.device()) - 1;
  return at::where(total == 0, at::ones({1}, kept.options()),
                   kept.index_select(-1, columns) / total);
}

namespace {

// Either result may be left out: `ranks` or `gradient` are only defined where wanted.
RankExpectations Expect(const at::Tensor& scores, const at::Tensor& weights,
                        const at::Tensor& columns, bool with_ranks, bool with_gradient) {
  const at::NoGradGuard no_gradients;
  if (!scores.device().is_cpu()) return ExpectRanksBlockwise(scores, weights, columns);
  const int64_t n = scores.size(-1);
  const at::Tensor flat_scores = scores.to(at::kFloat).contiguous();
  const at::Tensor flat_weights =
      with_gradient ? weights.to(at::kFloat).expand(scores.sizes()).contiguous() : at::Tensor();
  const at::Tensor flat_columns = columns.defined() ? columns.contiguous() : at::Tensor();
  RankExpectations result;
  if (with_ranks) result.ranks = at::empty_like(flat_scores);
  if (with_gradient) result.gradient = at::empty_like(flat_scores);
  at::parallel_for(0, n == 0 ? 0 : scores.numel() / n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t context = begin; context < end; ++context) {
      RankProblem problem;
      problem.scores = flat_scores.data_ptr<float>() + context * n;
      problem.n = n;
      if (with_gradient) problem.weights = flat_weights.data_ptr<float>() + context * n;
      if (columns.defined()) {
        problem.compared = columns.size(-1);
        problem.columns = flat_columns.data_ptr<int64_t>() + context * problem.compared;
      }
      ExpectRanksOfContext(
          problem, with_ranks ? result.ranks.data_ptr<float>() + context * n : nullptr,
          with_gradient ? result.gradient.data_ptr<float>() + context * n : nullptr);
    }
  });
  return result;
}

}  // namespace

at::Tensor ExpectedRanks(const at::Tensor& scores, const at::Tensor& columns) {
  return Expect(scores, at::zeros_like(scores), columns, true, false).ranks;
}

at::Tensor ExpectedRankGradient(const at::Tensor& scores, const at::Tensor& weights,
                                const at::Tensor& columns) {
  return Expect(scores, weights, columns, false, true).gradient;
}

RankExpectations ExpectRanks(const at::Tensor& scores, const at::Tensor& weights,
                             const at::Tensor& columns) {
  return Expect(scores, weights, columns, true, true);
}

RankExpectations ExpectRanksBlockwise(const at::Tensor& scores, const at::Tensor& weights,
                                      const at::Tensor& columns) {
  const at::NoGradGuard no_gradients;
  const int64_t n = scores.size(-1);
  const at::Tensor all_weights = weights.to(at::kFloat).expand(scores.sizes());
  const at::Tensor column_scores = columns.defined() ? scores.gather(-1, columns) : scores;
  const at::Tensor column_weights =
      columns.defined() ? all_weights.gather(-1, columns) : all_weights;
  const int64_t compared = column_scores.size(-1);
  const int64_t contexts = n == 0 ? 0 : scores.numel() / n;
  const int64_t block =
      std::max<int64_t>(1, kPairsOfBlock / std::max<int64_t>(1, contexts * compared));
  std::vector<at::Tensor> before, slopes;
  for (int64_t first = 0; first < n; first += block) {
    const int64_t rows = std::min(block, n - first);
    const at::Tensor p =
        (column_scores.unsqueeze(-2) - scores.narrow(-1, first, rows).unsqueeze(-1))
            .to(at::kFloat)
            .sigmoid();  // [..., rows, compared]
    before.push_back(p.sum(-1));
    const at::Tensor difference =
        column_weights.unsqueeze(-2) - all_weights.narrow(-1, first, rows).unsqueeze(-1);
    slopes.push_back((difference * p * (1 - p)).sum(-1));
  }
  RankExpectations result;
  if (n == 0) return {at::empty_like(all_weights), at::empty_like(all_weights)};
  // An entry that is a column itself counts 1/2 there, and has one column less that is another.
  at::Tensor own = at::ones_like(all_weights);
  if (columns.defined()) own = at::zeros_like(all_weights).scatter(-1, columns, 1);
  const at::Tensor others = (static_cast<double>(compared) - own).clamp_min(1e-30);
  const at::Tensor scale =
      at::where(others < 0.5, at::zeros_like(others), static_cast<double>(n - 1) / others);
  result.ranks = 1 + (at::cat(before, -1) - own * 0.5) * scale;
  result.gradient = at::cat(slopes, -1) * scale;
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

#include "policy/plackett_luce.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ATen/ATen.h"
#include "gtest/gtest.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

at::Tensor Scores(int64_t n) { return SeededUniform({n}, 11) * 4 - 2; }
at::Tensor Importance(int64_t n) { return SeededUniform({n}, 12).pow(3); }

// One step of the definition: draw the ranks one after another.
double ProbabilityByDefinition(const std::vector<double>& scores,
                               const std::vector<int64_t>& order) {
  double probability = 1;
  for (size_t r = 0; r < order.size(); ++r) {
    double candidates = 0;
    for (size_t later = r; later < order.size(); ++later)
      candidates += std::exp(scores[order[later]]);
    probability *= std::exp(scores[order[r]]) / candidates;
  }
  return probability;
}

double ExpectedRewardByEnumeration(const std::vector<double>& scores,
                                   const std::vector<double>& importance) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  double expected = 0;
  do {
    double reward = 0;
    for (size_t r = 0; r < order.size(); ++r) reward -= (r + 1) * importance[order[r]];
    expected += ProbabilityByDefinition(scores, order) * reward;
  } while (std::next_permutation(order.begin(), order.end()));
  return expected;
}

std::vector<double> Doubles(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

TEST(PlackettLuceTest, ExactExpectedRewardIsTheMeanOverAllRankings) {
  for (int64_t n = 1; n <= 6; ++n) {
    const ExpectedReward exact = ExactExpectedReward(Scores(n), Importance(n));
    EXPECT_NEAR(exact.reward.item<double>(),
                ExpectedRewardByEnumeration(Doubles(Scores(n)), Doubles(Importance(n))), 1e-5);
  }
}

TEST(PlackettLuceTest, ExactGradientIsTheSlopeOfTheMeanOverAllRankings) {
  constexpr double kStep = 1e-4;
  for (int64_t n = 2; n <= 6; ++n) {
    const ExpectedReward exact = ExactExpectedReward(Scores(n), Importance(n));
    for (int64_t k = 0; k < n; ++k) {
      std::vector<double> up = Doubles(Scores(n));
      std::vector<double> down = up;
      up[k] += kStep;
      down[k] -= kStep;
      const std::vector<double> importance = Doubles(Importance(n));
      const double slope = (ExpectedRewardByEnumeration(up, importance) -
                            ExpectedRewardByEnumeration(down, importance)) /
                           (2 * kStep);
      EXPECT_NEAR(exact.gradient[k].item<double>(), slope, 1e-5);
    }
  }
}

TEST(PlackettLuceTest, ExactRewardAndGradientAgreeWithAutogradOverThePairMatrix) {
  const at::Tensor scores = (SeededUniform({2, 150}, 5) * 6).to(at::kDouble).requires_grad_(true);
  const at::Tensor importance = SeededUniform({2, 150}, 6);
  const at::Tensor before = (scores.unsqueeze(-2) - scores.unsqueeze(-1)).sigmoid();  // [.., i, j]
  const at::Tensor reward = -(importance * (before.sum(-1) + 0.5)).sum(-1);
  reward.sum().backward();
  const ExpectedReward exact = ExactExpectedReward(scores.detach(), importance);
  EXPECT_TRUE(at::allclose(exact.reward, reward.detach(), 1e-5));
  EXPECT_TRUE(at::allclose(exact.gradient.to(at::kDouble), scores.grad(), 1e-4, 1e-4));
}

TEST(PlackettLuceTest, ScoresFarApartStayFinite) {
  const at::Tensor scores = at::tensor({-1000.f, 0.f, 1000.f});
  const RankExpectations expected = ExpectRanks(scores, at::tensor({1.f, 2.f, 3.f}));
  EXPECT_TRUE(at::allclose(expected.ranks, at::tensor({3.f, 2.f, 1.f})));
  EXPECT_TRUE(expected.gradient.isfinite().all().item<bool>());
}

TEST(PlackettLuceTest, AScoreThatIsNoNumberIsSeenInTheGradient) {
  const ExpectedReward exact = ExactExpectedReward(at::tensor({0.f, NAN, 1.f}), at::ones({3}));
  EXPECT_TRUE(exact.gradient.isnan().any().item<bool>());
}

TEST(PlackettLuceTest, ProbabilitiesSumToOneOverAllRankings) {
  std::vector<int64_t> order(6);
  std::iota(order.begin(), order.end(), 0);
  std::vector<at::Tensor> rankings;
  do {
    rankings.push_back(at::tensor(order, at::kLong));
  } while (std::next_permutation(order.begin(), order.end()));
  const at::Tensor probabilities = LogProbability(Scores(6), at::stack(rankings)).exp();
  EXPECT_NEAR(probabilities.sum().item<double>(), 1, 1e-5);
  EXPECT_NEAR(probabilities[7].item<double>(),
              ProbabilityByDefinition(Doubles(Scores(6)), {rankings[7].data_ptr<int64_t>(),
                                                           rankings[7].data_ptr<int64_t>() + 6}),
              1e-6);
}

TEST(PlackettLuceTest, LogProbabilityGradientAgreesWithAutograd) {
  const at::Tensor scores = Scores(20).requires_grad_(true);
  const at::Tensor ranking = SampleRankings(scores.detach(), SeededGumbel({20}, 4));
  LogProbability(scores, ranking).backward();
  EXPECT_TRUE(
      at::allclose(LogProbabilityGradient(scores.detach(), ranking), scores.grad(), 1e-4, 1e-5));
}

TEST(PlackettLuceTest, RankingsAreSampledWithTheirProbabilities) {
  constexpr int64_t kSamples = 60000;
  const at::Tensor scores = Scores(3);
  const at::Tensor rankings = SampleRankings(scores, SeededGumbel({kSamples, 3}, 9));
  std::vector<int64_t> order = {0, 1, 2};
  do {
    const at::Tensor same = (rankings == at::tensor(order, at::kLong)).all(-1);
    EXPECT_NEAR(same.to(at::kDouble).mean().item<double>(),
                ProbabilityByDefinition(Doubles(scores), order), 0.01);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(PlackettLuceTest, ExactGradientIsTheMeanOfScoreFunctionGradientsWithinTheirError) {
  constexpr int64_t kSamples = 40000;
  constexpr int64_t kGroup = 8;  // rankings that share a leave-one-out baseline
  constexpr int64_t n = 12;
  const at::Tensor scores = Scores(n);
  const at::Tensor importance = Importance(n);
  const at::Tensor rankings = SampleRankings(scores, SeededGumbel({kSamples, n}, 2));
  const at::Tensor rewards = RankingReward(rankings, importance).view({-1, kGroup});
  const at::Tensor baseline = (rewards.sum(-1, true) - rewards) / (kGroup - 1);
  const at::Tensor estimates =
      ((rewards - baseline).view({-1, 1}) * LogProbabilityGradient(scores, rankings));
  const at::Tensor of_groups = estimates.view({-1, kGroup, n}).mean(1);
  const at::Tensor error = of_groups.std(0) / std::sqrt(kSamples / kGroup);
  const at::Tensor exact = ExactExpectedReward(scores, importance).gradient;
  const at::Tensor deviation = ((of_groups.mean(0) - exact) / error).abs();
  EXPECT_LT(deviation.max().item<double>(), 4);
  EXPECT_LT(deviation.mean().item<double>(), 1.5);
  // The error is small beside the gradient, so that the comparison says something.
  EXPECT_LT((error.norm() / exact.norm()).item<double>(), 0.03);
}

TEST(PlackettLuceTest, SampledColumnsGiveRanksAndGradientsWithoutBias) {
  constexpr int64_t n = 11;
  constexpr int64_t kCompared = 4;
  constexpr int kDraws = 20000;
  const at::Tensor scores = Scores(n);
  const at::Tensor weights = Importance(n);
  const RankExpectations expected = ExpectRanks(scores, weights);
  std::vector<at::Tensor> columns;
  for (int draw = 0; draw < kDraws; ++draw) {
    columns.push_back(at::tensor(SeededSubset(n, kCompared, MixSeed({uint64_t(draw)})), at::kLong));
  }
  const RankExpectations sampled =
      ExpectRanks(scores.expand({kDraws, n}), weights.expand({kDraws, n}), at::stack(columns));
  const auto expect_unbiased = [&](const at::Tensor& samples, const at::Tensor& mean) {
    const at::Tensor error = samples.to(at::kDouble).std(0) / std::sqrt(kDraws);
    EXPECT_LT(((samples.to(at::kDouble).mean(0) - mean) / error).abs().max().item<double>(), 4);
    EXPECT_GT(error.min().item<double>(), 0);
  };
  expect_unbiased(sampled.ranks, expected.ranks);
  expect_unbiased(sampled.gradient, expected.gradient);
}

TEST(PlackettLuceTest, ColumnsOfAllEntriesAreTheWholeSum) {
  const at::Tensor scores = Scores(30);
  const at::Tensor weights = Importance(30);
  const RankExpectations whole = ExpectRanks(scores, weights);
  const RankExpectations columns = ExpectRanks(scores, weights, at::arange(30, at::kLong));
  EXPECT_TRUE(at::allclose(columns.ranks, whole.ranks, 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(columns.gradient, whole.gradient, 1e-4, 1e-5));
}

TEST(PlackettLuceTest, RanksAndGradientsAloneAreThoseOfBoth) {
  const at::Tensor scores = at::stack({Scores(50), Scores(50) * 9});
  const at::Tensor weights = at::stack({Importance(50), Importance(50).sqrt()});
  const RankExpectations both = ExpectRanks(scores, weights);
  EXPECT_TRUE(at::allclose(ExpectedRanks(scores), both.ranks, 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(ExpectedRankGradient(scores, weights), both.gradient, 1e-4, 1e-5));
}

TEST(PlackettLuceTest, TheBlockwiseFormOfOtherDevicesAgrees) {
  const at::Tensor scores = at::stack({Scores(50), Scores(50) * 9});
  const at::Tensor weights = at::stack({Importance(50), Importance(50).sqrt()});
  const at::Tensor columns = at::tensor(SeededSubset(50, 7, 1), at::kLong).expand({2, 7});
  for (const at::Tensor& of : {at::Tensor(), columns}) {
    const RankExpectations kernel = ExpectRanks(scores, weights, of);
    const RankExpectations blockwise = ExpectRanksBlockwise(scores, weights, of);
    EXPECT_TRUE(at::allclose(blockwise.ranks, kernel.ranks, 1e-4, 1e-4));
    EXPECT_TRUE(at::allclose(blockwise.gradient, kernel.gradient, 1e-3, 1e-4));
  }
}

TEST(PlackettLuceTest, RankCostsWeighTheBudgets) {
  const at::Tensor importance = at::tensor({0.5f, 0.f, 2.f});
  const at::Tensor ranking = at::tensor({0, 2, 1}, at::kLong);
  // Budget 1 alone: what isn't the first is evicted.
  EXPECT_DOUBLE_EQ(
      RankingReward(ranking, importance, at::tensor({0.0, 1.0, 1.0}, at::kDouble)).item<double>(),
      -2.0);
}

TEST(PlackettLuceTest, RewardAndCostFollowTheirDefinition) {
  const at::Tensor importance = at::tensor({0.5f, 0.f, 2.f});
  const at::Tensor ranking = at::tensor({0, 2, 1}, at::kLong);
  EXPECT_DOUBLE_EQ(RankingReward(ranking, importance).item<double>(), -(1 * 0.5 + 2 * 2.0));
  EXPECT_DOUBLE_EQ(OracleReward(importance).item<double>(), -(1 * 2.0 + 2 * 0.5));
  EXPECT_DOUBLE_EQ(RankingCost(ranking, importance).item<double>(), 4.5 / 3);
}

TEST(PlackettLuceTest, ContextsWithoutImportanceCostAsTheOracle) {
  const at::Tensor ranking = at::tensor({0, 1}, at::kLong);
  EXPECT_EQ(RankingCost(ranking, at::zeros({2})).item<double>(), 1);
  EXPECT_EQ(RetainedMass(ranking, at::zeros({2}), {1})[0].item<double>(), 1);
}

TEST(PlackettLuceTest, RetainedMassIsTheShareOfTheFirstEntries) {
  const at::Tensor importance = at::tensor({1.f, 2.f, 5.f}).unsqueeze(0);
  const at::Tensor ranking = at::tensor({2, 0, 1}, at::kLong).unsqueeze(0);
  const at::Tensor mass = RetainedMass(ranking, importance, {1, 2, 3});
  EXPECT_TRUE(at::allclose(mass, at::tensor({5.0 / 8, 6.0 / 8, 1.0}, at::kDouble).unsqueeze(0)));
}

}  // namespace
}  // namespace kvp

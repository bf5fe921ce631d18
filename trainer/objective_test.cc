#include "trainer/objective.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "policy/plackett_luce.h"
#include "policy/seeded_random.h"
#include "trainer/budget_weights.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

ObjectiveInput Input(int64_t heads, int64_t n) {
  ObjectiveInput input;
  input.scores = SeededUniform({heads, n}, 1) * 3;
  input.importance = SeededUniform({heads, n}, 2).pow(4);
  input.entries = n;
  input.oracle_cost = OracleReward(input.importance).neg();
  for (int64_t head = 0; head < heads; ++head) input.seeds.push_back(MixSeed({uint64_t(head)}));
  return input;
}

std::unique_ptr<Objective> Make(const std::string& name, int64_t permutations = 8) {
  ObjectiveOptions options;
  options.name = name;
  options.permutations = permutations;
  options.log_rank_weight = 0.5;
  return MakeObjective(options).value();
}

std::vector<double> Doubles(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

// The mean of `cost` over all rankings, each as likely as Plackett–Luce makes it: drawn one entry
// after another. cost gets the entries' ranks, from 1.
double MeanOverAllRankings(const std::vector<double>& scores,
                           const std::function<double(const std::vector<int64_t>&)>& cost) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  double mean = 0;
  do {
    double probability = 1;
    std::vector<int64_t> ranks(scores.size());
    for (size_t r = 0; r < order.size(); ++r) {
      double candidates = 0;
      for (size_t later = r; later < order.size(); ++later) {
        candidates += std::exp(scores[order[later]]);
      }
      probability *= std::exp(scores[order[r]]) / candidates;
      ranks[order[r]] = static_cast<int64_t>(r) + 1;
    }
    mean += probability * cost(ranks);
  } while (std::next_permutation(order.begin(), order.end()));
  return mean;
}

// The slope of that mean in every score.
at::Tensor SlopeOverAllRankings(const std::vector<double>& scores,
                                const std::function<double(const std::vector<int64_t>&)>& cost) {
  constexpr double kStep = 1e-4;
  at::Tensor slope = at::empty({static_cast<int64_t>(scores.size())}, at::kDouble);
  for (size_t i = 0; i < scores.size(); ++i) {
    std::vector<double> up = scores;
    std::vector<double> down = scores;
    up[i] += kStep;
    down[i] -= kStep;
    slope[static_cast<int64_t>(i)] =
        (MeanOverAllRankings(up, cost) - MeanOverAllRankings(down, cost)) / (2 * kStep);
  }
  return slope;
}

// Loss and gradient of one head, many times with other seeds: their means agree with what is
// expected, within four standard errors, which are small beside the gradient.
void ExpectUnbiased(const Objective& objective, ObjectiveInput input, double loss,
                    const at::Tensor& gradient, int draws) {
  std::vector<at::Tensor> losses, gradients;
  for (int draw = 0; draw < draws; ++draw) {
    input.seeds = {MixSeed({77, uint64_t(draw)})};
    const ObjectiveResult result = objective.Evaluate(input);
    losses.push_back(result.loss);
    gradients.push_back(result.gradient[0].to(at::kDouble));
  }
  const auto deviation = [&](const at::Tensor& samples, const at::Tensor& expected) {
    const at::Tensor error = samples.std(0) / std::sqrt(draws) + 1e-7;
    EXPECT_LT(error.norm().item<double>(), 0.1 * expected.norm().item<double>());
    return ((samples.mean(0) - expected) / error).abs().max().item<double>();
  };
  EXPECT_LT(deviation(at::stack(losses), at::tensor({loss}, at::kDouble)), 4);
  EXPECT_LT(deviation(at::stack(gradients), gradient.to(at::kDouble)), 4);
}

// The slope of the loss in every score, by differences.
at::Tensor NumericGradient(const Objective& objective, ObjectiveInput input) {
  constexpr double kStep = 0.02;
  at::Tensor gradient = at::empty(input.scores.sizes(), at::kDouble);
  const at::Tensor scores = input.scores.clone();
  for (int64_t i = 0; i < scores.size(1); ++i) {
    input.scores = scores.clone();
    input.scores.select(1, i).add_(kStep);
    const at::Tensor up = objective.Evaluate(input).loss;
    input.scores = scores.clone();
    input.scores.select(1, i).sub_(kStep);
    gradient.select(1, i).copy_((up - objective.Evaluate(input).loss) / (2 * kStep));
  }
  return gradient.to(at::kFloat);
}

TEST(ObjectiveTest, ClosedFormGradientsAreTheSlopesOfTheirLosses) {
  const ObjectiveInput input = Input(2, 15);
  for (const char* name : {"exact", "log_rank", "exact+log_rank"}) {
    const auto objective = Make(name);
    EXPECT_TRUE(at::allclose(objective->Evaluate(input).gradient,
                             NumericGradient(*objective, input), 1e-2, 1e-4))
        << name;
  }
}

TEST(ObjectiveTest, ExactLossIsTheExpectedCost) {
  const ObjectiveInput input = Input(2, 15);
  const at::Tensor expected =
      ExactExpectedReward(input.scores, input.importance).reward.neg() / input.oracle_cost;
  EXPECT_TRUE(at::allclose(Make("exact")->Evaluate(input).loss, expected));
  EXPECT_GT(expected.min().item<double>(), 1);
}

TEST(ObjectiveTest, ExactLossAndGradientAreThoseOfTheMeanOverAllRankings) {
  for (int64_t n = 2; n <= 6; ++n) {
    const ObjectiveInput input = Input(1, n);
    const std::vector<double> scores = Doubles(input.scores[0]);
    const std::vector<double> importance = Doubles(input.importance[0]);
    const auto cost = [&](const std::vector<int64_t>& ranks) {
      double sum = 0;
      for (size_t i = 0; i < ranks.size(); ++i) sum += importance[i] * ranks[i];
      return sum / input.oracle_cost.item<double>();
    };
    const ObjectiveResult exact = Make("exact")->Evaluate(input);
    EXPECT_NEAR(exact.loss.item<double>(), MeanOverAllRankings(scores, cost), 1e-5);
    EXPECT_TRUE(at::allclose(exact.gradient[0].to(at::kDouble), SlopeOverAllRankings(scores, cost),
                             1e-3, 1e-5));
  }
}

TEST(ObjectiveTest, TheExactGradientIsTheMeanOfSampledPolicyGradientsWithinTheirError) {
  const ObjectiveInput input = Input(1, 15);
  const ObjectiveResult exact = Make("exact")->Evaluate(input);
  ExpectUnbiased(*Make("rloo"), input, exact.loss.item<double>(), exact.gradient[0], 6000);
}

TEST(ObjectiveTest, APairSampleKeepsTheExactLossAndGradientOnAverage) {
  const ObjectiveInput input = Input(1, 15);
  const ObjectiveResult exact = Make("exact")->Evaluate(input);
  ObjectiveOptions options;
  options.name = "exact";
  options.pairs = 4;
  ExpectUnbiased(*MakeObjective(options).value(), input, exact.loss.item<double>(),
                 exact.gradient[0], 6000);
}

TEST(ObjectiveTest, AsManyPairsAsEntriesAreAllOfThem) {
  const ObjectiveInput input = Input(2, 15);
  for (const char* name : {"exact", "log_rank", "exact+log_rank"}) {
    ObjectiveOptions options;
    options.name = name;
    options.log_rank_weight = 0.5;
    options.pairs = 15;
    const ObjectiveResult sampled = MakeObjective(options).value()->Evaluate(input);
    const ObjectiveResult all = Make(name)->Evaluate(input);
    EXPECT_TRUE(at::allclose(sampled.loss, all.loss)) << name;
    EXPECT_TRUE(at::equal(sampled.gradient, all.gradient)) << name;
  }
}

TEST(ObjectiveTest, LogRankWithManyPairsComesCloseToAllOfThem) {
  const ObjectiveInput input = Input(1, 400);
  ObjectiveOptions options;
  options.name = "log_rank";
  options.pairs = 200;
  const ObjectiveResult sampled = MakeObjective(options).value()->Evaluate(input);
  const ObjectiveResult all = Make("log_rank")->Evaluate(input);
  EXPECT_NEAR(sampled.loss.item<double>() / all.loss.item<double>(), 1, 0.02);
  EXPECT_LT((sampled.gradient - all.gradient).norm().item<double>(),
            0.3 * all.gradient.norm().item<double>());
}

TEST(ObjectiveTest, RlooTrainsForAnyBudgetWeights) {
  const ObjectiveInput input = Input(1, 5);
  const std::vector<double> scores = Doubles(input.scores[0]);
  const std::vector<double> importance = Doubles(input.importance[0]);
  const double sum = std::accumulate(importance.begin(), importance.end(), 0.0);
  // Budgets 1/5 and 3/5 of five entries: 1 and 3 entries.
  const std::vector<double> of_budgets = {0, 2, 0, 1, 0};
  const auto cost = [&](const std::vector<int64_t>& ranks) {
    double evicted = 0;
    for (int64_t budget = 0; budget < 5; ++budget) {
      for (size_t i = 0; i < ranks.size(); ++i) {
        if (ranks[i] > budget) evicted += of_budgets[budget] * importance[i];
      }
    }
    return evicted / (3 * sum);
  };
  ObjectiveOptions options;
  options.name = "rloo";
  options.budget_weights = "0.2:2,0.6:1";
  ExpectUnbiased(*MakeObjective(options).value(), input, MeanOverAllRankings(scores, cost),
                 SlopeOverAllRankings(scores, cost), 6000);
}

TEST(ObjectiveTest, InverseBudgetWeightsCostTheHarmonicNumberOfTheRank) {
  const at::Tensor costs = BudgetWeights::Parse("inverse").value().RankCosts(4);
  EXPECT_TRUE(
      at::allclose(costs, at::tensor({1.0, 1.5, 1.5 + 1.0 / 3, 1.75 + 1.0 / 3}, at::kDouble)));
  EXPECT_TRUE(at::allclose(BudgetWeights::Parse("uniform").value().RankCosts(3),
                           at::tensor({1.0, 2.0, 3.0}, at::kDouble)));
}

// Costs, baselines and gradients of the paper's objective, a number at a time.
TEST(ObjectiveTest, PaperIsOneRankingAContextWithABaselineAcrossThem) {
  constexpr int64_t kHeads = 2;
  std::vector<ObjectiveInput> batch;
  for (uint64_t context = 0; context < 40; ++context) {
    ObjectiveInput input;
    input.entries = 6 + static_cast<int64_t>(context % 5);
    input.scores = SeededUniform({kHeads, input.entries}, MixSeed({context, 1})) * 3;
    input.importance = SeededUniform({kHeads, input.entries}, MixSeed({context, 2})).pow(4);
    if (context == 3) input.importance[1].zero_();
    input.oracle_cost = OracleReward(input.importance).neg();
    input.seeds = {MixSeed({context, 3}), MixSeed({context, 4})};
    batch.push_back(input);
  }
  const std::vector<ObjectiveResult> results = Make("paper")->EvaluateBatch(batch);
  ASSERT_EQ(results.size(), batch.size());
  int clamped = 0;
  for (int64_t head = 0; head < kHeads; ++head) {
    std::vector<size_t> counted;
    std::vector<double> costs(batch.size());
    std::vector<at::Tensor> rankings;
    for (size_t c = 0; c < batch.size(); ++c) {
      rankings.push_back(SampleRankings(
          batch[c].scores[head], SeededGumbel({1, batch[c].entries}, batch[c].seeds[head]))[0]);
      costs[c] = RankingCost(rankings[c], batch[c].importance[head]).item<double>();
      EXPECT_NEAR(results[c].loss[head].item<double>(), costs[c], 1e-6);
      if (head == 0 || c != 3) counted.push_back(c);
    }
    std::vector<double> advantages;
    for (const size_t c : counted) {
      double others = 0;
      for (const size_t other : counted) others += other == c ? 0 : costs[other];
      advantages.push_back(costs[c] - others / (counted.size() - 1));
    }
    double squares = 0;
    for (const double advantage : advantages) squares += advantage * advantage;
    const double deviation = std::sqrt(squares / (counted.size() - 1));
    for (size_t i = 0; i < counted.size(); ++i) {
      const double advantage = std::clamp(advantages[i] / deviation, -2.0, 2.0);
      if (std::abs(advantage) == 2) ++clamped;
      const ObjectiveInput& input = batch[counted[i]];
      at::Tensor scores = input.scores[head].clone().requires_grad_(true);
      LogProbability(scores, rankings[counted[i]]).backward();
      EXPECT_TRUE(
          at::allclose(results[counted[i]].gradient[head], scores.grad() * advantage, 1e-3, 1e-4));
    }
  }
  EXPECT_GT(clamped, 0);
  EXPECT_EQ(results[3].gradient[1].abs().sum().item<double>(), 0);
}

TEST(ObjectiveTest, PaperPushesAlongTheExactGradientOnAverage) {
  const ObjectiveInput one = Input(1, 10);
  at::Tensor mean = at::zeros({10});
  for (uint64_t draw = 0; draw < 40; ++draw) {
    std::vector<ObjectiveInput> batch(100, one);
    for (uint64_t context = 0; context < 100; ++context) {
      batch[context].seeds = {MixSeed({draw, context})};
    }
    for (const ObjectiveResult& result : Make("paper")->EvaluateBatch(batch)) {
      mean += result.gradient[0];
    }
  }
  const at::Tensor exact = Make("exact")->Evaluate(one).gradient[0];
  EXPECT_GT((mean.dot(exact) / (mean.norm() * exact.norm())).item<double>(), 0.97);
}

TEST(ObjectiveTest, SupervisedObjectivesFollowTheirFormulas) {
  const ObjectiveInput input = Input(2, 9);
  at::Tensor scores = input.scores.to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor importance = input.importance.to(at::kDouble);
  const at::Tensor target = (importance / importance.mean(1, true) + 1e-3).log();
  const at::Tensor regression = (scores - target).pow(2).mean(1);
  regression.sum().backward();
  ObjectiveResult result = Make("regression")->Evaluate(input);
  EXPECT_TRUE(at::allclose(result.loss, regression, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(result.gradient.to(at::kDouble), scores.grad(), 1e-4, 1e-5));

  scores = input.scores.to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor p = importance / importance.sum(1, true);
  const at::Tensor listwise = (p * (p.log() - scores.log_softmax(1))).sum(1);
  listwise.sum().backward();
  result = Make("listwise")->Evaluate(input);
  EXPECT_TRUE(at::allclose(result.loss, listwise, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(result.gradient.to(at::kDouble), scores.grad(), 1e-4, 1e-5));
}

TEST(ObjectiveTest, RlooEstimatesTheExactLossAndGradient) {
  const ObjectiveInput input = Input(2, 15);
  const ObjectiveResult exact = Make("exact")->Evaluate(input);
  const ObjectiveResult rloo = Make("rloo", 20000)->Evaluate(input);
  EXPECT_TRUE(at::allclose(rloo.loss, exact.loss, 1e-2));
  EXPECT_LT((rloo.gradient - exact.gradient).norm().item<double>(),
            0.1 * exact.gradient.norm().item<double>());
}

TEST(ObjectiveTest, RlooOfAHeadDependsOnItsSeedAlone) {
  const ObjectiveInput both = Input(2, 15);
  ObjectiveInput second = both;
  second.scores = both.scores.slice(0, 1);
  second.importance = both.importance.slice(0, 1);
  second.oracle_cost = both.oracle_cost.slice(0, 1);
  second.seeds = {both.seeds[1]};
  EXPECT_TRUE(at::allclose(Make("rloo")->Evaluate(second).gradient[0],
                           Make("rloo")->Evaluate(both).gradient[1], 1e-5, 1e-7));
}

TEST(ObjectiveTest, SamplesOfEntriesGiveTheExactGradientOnAverage) {
  constexpr int64_t n = 12;
  constexpr int64_t kSampled = 5;
  constexpr int kDraws = 6000;
  const ObjectiveInput whole = Input(1, n);
  const auto objective = Make("exact");
  const ObjectiveResult expected = objective->Evaluate(whole);
  at::Tensor gradient = at::zeros({1, n});
  double loss = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    const at::Tensor index =
        at::tensor(SeededSubset(n, kSampled, MixSeed({uint64_t(draw)})), at::kLong);
    ObjectiveInput sample = whole;
    sample.scores = whole.scores.index_select(1, index);
    sample.importance = whole.importance.index_select(1, index);
    const ObjectiveResult result = objective->Evaluate(sample);
    gradient.index_add_(1, index, result.gradient / kDraws);
    loss += result.loss.item<double>() / kDraws;
  }
  EXPECT_NEAR(loss, expected.loss.item<double>(), 0.03);
  EXPECT_LT((gradient - expected.gradient).norm().item<double>(),
            0.05 * expected.gradient.norm().item<double>());
}

TEST(ObjectiveTest, HeadsWithoutImportanceHaveNoGradient) {
  ObjectiveInput input = Input(2, 9);
  input.importance[0].zero_();
  input.oracle_cost = OracleReward(input.importance).neg();
  ObjectiveInput other = input;
  other.seeds = {MixSeed({8}), MixSeed({9})};
  for (const std::string& name : ObjectiveNames()) {
    const ObjectiveResult result = Make(name)->EvaluateBatch({input, other})[0];
    EXPECT_EQ(result.gradient[0].abs().sum().item<double>(), 0) << name;
    EXPECT_GT(result.gradient[1].abs().sum().item<double>(), 0) << name;
    EXPECT_TRUE(result.loss.isfinite().all().item<bool>()) << name;
  }
}

TEST(ObjectiveTest, OnlyPaperNeedsAWholeBatch) {
  for (const std::string& name : ObjectiveNames()) {
    EXPECT_EQ(Make(name)->couples_contexts(), name == "paper") << name;
  }
}

TEST(ObjectiveTest, BadOptionsAreRefused) {
  const auto expect_refused = [](const std::function<void(ObjectiveOptions&)>& change,
                                 const std::string& message) {
    ObjectiveOptions options;
    change(options);
    EXPECT_THAT(MakeObjective(options).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  expect_refused([](ObjectiveOptions& options) { options.name = "best"; }, "\"best\"");
  expect_refused([](ObjectiveOptions& options) { options.permutations = 1; }, "permutations is 1");
  expect_refused([](ObjectiveOptions& options) { options.pairs = 1; }, "pairs is 1");
  expect_refused([](ObjectiveOptions& options) { options.log_rank_weight = -1; },
                 "log_rank_weight is -1");
  expect_refused([](ObjectiveOptions& options) { options.budget_weights = "inverse"; },
                 "not exact+log_rank");
  for (const char* text : {"", "0.5", "0.5:x", "1:1", "-0.1:1", "0.5:-1", "0.5:0", "0.5:1,"}) {
    expect_refused(
        [&](ObjectiveOptions& options) {
          options.name = "rloo";
          options.budget_weights = text;
        },
        absl::StrCat("budget_weights is \"", text, "\""));
  }
}

}  // namespace
}  // namespace kvp

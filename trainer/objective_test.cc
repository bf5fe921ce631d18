#include "trainer/objective.h"

#include <cmath>

#include "ATen/ATen.h"
#include "policy/plackett_luce.h"
#include "policy/seeded_random.h"
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
  for (const char* name : {"exact", "rloo", "log_rank", "exact+log_rank"}) {
    const ObjectiveResult result = Make(name)->Evaluate(input);
    EXPECT_EQ(result.gradient[0].abs().sum().item<double>(), 0) << name;
    EXPECT_GT(result.gradient[1].abs().sum().item<double>(), 0) << name;
    EXPECT_TRUE(result.loss.isfinite().all().item<bool>()) << name;
  }
}

TEST(ObjectiveTest, BadOptionsAreRefused) {
  ObjectiveOptions options;
  options.name = "best";
  EXPECT_THAT(MakeObjective(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("best")));
  options.name = "rloo";
  options.permutations = 1;
  EXPECT_THAT(MakeObjective(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("permutations is 1")));
}

}  // namespace
}  // namespace kvp

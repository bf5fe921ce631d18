#include "eval/ranking_metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "ATen/ops/from_blob.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "gtest/gtest.h"
#include "policy/selection.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using testing::HasSubstr;

at::Tensor TensorOf(std::vector<float> values, int64_t heads) {
  const int64_t tokens = static_cast<int64_t>(values.size()) / heads;
  return at::from_blob(values.data(), {heads, tokens}, at::kFloat).clone();
}

std::vector<float> Random(size_t count, uint64_t seed, float low) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(low, 1);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

// From the definitions, one head at a time.
struct Reference {
  double cost = 0;
  std::vector<double> retained;
};
Reference SlowReference(const std::vector<float>& scores, const std::vector<float>& importance,
                        const std::vector<double>& budgets) {
  const auto reward = [&](const std::vector<size_t>& order) {
    double sum = 0;
    for (size_t budget = 0; budget < order.size(); ++budget) {
      for (size_t rank = budget; rank < order.size(); ++rank) sum -= importance[order[rank]];
    }
    return sum;
  };
  const auto order_by = [](const std::vector<float>& keys) {
    std::vector<size_t> order(keys.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return keys[a] > keys[b]; });
    return order;
  };
  const std::vector<size_t> order = order_by(scores);
  Reference reference;
  reference.cost = reward(order) / reward(order_by(importance));
  const double total = std::accumulate(importance.begin(), importance.end(), 0.0);
  for (double budget : budgets) {
    const size_t kept = std::max<size_t>(1, std::lround(budget * order.size()));
    double sum = 0;
    for (size_t rank = 0; rank < kept; ++rank) sum += importance[order[rank]];
    reference.retained.push_back(sum / total);
  }
  return reference;
}

TEST(RankingMetricsTest, AgreesWithTheDefinitions) {
  const std::vector<double> budgets = {1, 0.5, 0.25, 0.125, 0.0625, 0.001};
  constexpr int64_t kHeads = 3;
  constexpr int64_t kTokens = 37;
  const std::vector<float> scores = Random(kHeads * kTokens, 1, -1);
  const std::vector<float> importance = Random(kHeads * kTokens, 2, 0);
  ASSERT_OK_AND_ASSIGN(
      const RankingMetrics metrics,
      MeasureRanking(TensorOf(scores, kHeads), TensorOf(importance, kHeads), budgets));
  for (int64_t head = 0; head < kHeads; ++head) {
    const auto part = [head](const std::vector<float>& all) {
      return std::vector<float>(all.begin() + head * kTokens, all.begin() + (head + 1) * kTokens);
    };
    const Reference reference = SlowReference(part(scores), part(importance), budgets);
    EXPECT_NEAR(metrics.cost[head].item<double>(), reference.cost, 1e-12);
    for (size_t b = 0; b < budgets.size(); ++b) {
      EXPECT_NEAR(metrics.retained[head][static_cast<int64_t>(b)].item<double>(),
                  reference.retained[b], 1e-12);
    }
  }
}

TEST(RankingMetricsTest, TheOracleCostsOneAndNobodyCostsLess) {
  const at::Tensor importance = TensorOf(Random(64, 3, 0), 2);
  ASSERT_OK_AND_ASSIGN(const RankingMetrics oracle, MeasureRanking(importance, importance, {0.25}));
  EXPECT_DOUBLE_EQ(oracle.cost[0].item<double>(), 1);
  ASSERT_OK_AND_ASSIGN(const RankingMetrics other,
                       MeasureRanking(TensorOf(Random(64, 4, 0), 2), importance, {0.25}));
  EXPECT_GT(other.cost[0].item<double>(), 1);
  EXPECT_LE(other.retained[0][0].item<double>(), oracle.retained[0][0].item<double>());
}

TEST(RankingMetricsTest, TiesGoToTheEarlierEntry) {
  ASSERT_OK_AND_ASSIGN(const RankingMetrics metrics,
                       MeasureRanking(at::zeros({1, 4}), TensorOf({1, 2, 3, 4}, 1), {0.25, 0.5}));
  EXPECT_DOUBLE_EQ(metrics.retained[0][0].item<double>(), 0.1);
  EXPECT_DOUBLE_EQ(metrics.retained[0][1].item<double>(), 0.3);
}

TEST(RankingMetricsTest, AHeadWithoutAFutureIsNoNumber) {
  ASSERT_OK_AND_ASSIGN(const RankingMetrics metrics,
                       MeasureRanking(TensorOf({4, 3, 2, 1}, 2), TensorOf({0, 0, 1, 1}, 2), {0.5}));
  EXPECT_TRUE(std::isnan(metrics.cost[0].item<double>()));
  EXPECT_TRUE(std::isnan(metrics.retained[0][0].item<double>()));
  EXPECT_DOUBLE_EQ(metrics.cost[1].item<double>(), 1);
}

TEST(RankingMetricsTest, RefusesWhatMakesNoSense) {
  const at::Tensor ones = TensorOf({1, 1}, 1);
  EXPECT_THAT(MeasureRanking(ones, TensorOf({1, 1, 1}, 1), {0.5}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[1, 3]")));
  EXPECT_THAT(MeasureRanking(TensorOf({NAN, 1}, 1), ones, {0.5}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no number")));
  EXPECT_THAT(MeasureRanking(ones, TensorOf({-1, 1}, 1), {0.5}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("negative")));
  EXPECT_THAT(MeasureRanking(ones, ones, {1.5}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1.5")));
}

TEST(RankingMetricsTest, HeadsMayHaveBudgetsOfTheirOwn) {
  const at::Tensor scores = at::tensor({4.f, 3.f, 2.f, 1.f, 1.f, 2.f, 3.f, 4.f}).view({2, 4});
  const at::Tensor importance = at::tensor({1.f, 2.f, 3.f, 4.f, 1.f, 2.f, 3.f, 4.f}).view({2, 4});
  const std::vector<double> budgets = {0.5, 0.25};
  const std::vector<std::vector<int64_t>> own = {{3, 1}, {1, 1}};
  ASSERT_OK_AND_ASSIGN(const RankingMetrics metrics,
                       MeasureRanking(scores, importance, budgets, own));
  EXPECT_DOUBLE_EQ(metrics.retained[0][0].item<double>(), 0.6);
  EXPECT_DOUBLE_EQ(metrics.retained[1][0].item<double>(), 0.4);
  EXPECT_DOUBLE_EQ(metrics.retained[0][1].item<double>(), 0.1);
  EXPECT_DOUBLE_EQ(metrics.retained[1][1].item<double>(), 0.4);
  for (const std::vector<std::vector<int64_t>>& bad :
       std::vector<std::vector<std::vector<int64_t>>>{{{3, 1}}, {{3, 1}, {1}}, {{3, 1}, {0, 1}}}) {
    EXPECT_THAT(MeasureRanking(scores, importance, budgets, bad),
                StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("budgets")));
  }
}

}  // namespace
}  // namespace kvp

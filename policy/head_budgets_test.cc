#include "policy/head_budgets.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "ATen/ATen.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

int64_t Sum(const std::vector<int64_t>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), int64_t{0});
}

std::vector<HeadId> OneHeadALayer(int32_t layers) {
  std::vector<HeadId> heads;
  for (int32_t layer = 0; layer < layers; ++layer) heads.push_back({layer, 0});
  return heads;
}

TEST(PyramidBudgetsTest, FallLinearlyFromNearlyTwiceTheMeanToATwentieth) {
  EXPECT_THAT(PyramidBudgets(OneHeadALayer(3), 3, 1000, 100), ElementsAre(195, 100, 5));
  EXPECT_THAT(PyramidBudgets(OneHeadALayer(1), 1, 1000, 100), ElementsAre(100));
  // Some heads of some layers get what they would among all.
  EXPECT_THAT(PyramidBudgets({{2, 1}, {0, 3}, {0, 4}}, 3, 1000, 100), ElementsAre(5, 195, 195));
}

TEST(PyramidBudgetsTest, NoLayerKeepsMoreThanThereIs) {
  EXPECT_THAT(PyramidBudgets(OneHeadALayer(3), 3, 120, 100), ElementsAre(120, 100, 80));
  EXPECT_THAT(PyramidBudgets(OneHeadALayer(4), 4, 7, 7), Each(7));
}

TEST(PyramidBudgetsTest, AddUpToTheMeanWhateverTheRounding) {
  for (const int32_t layers : {2, 3, 5, 7, 32}) {
    for (const int64_t tokens : {5, 100, 1001}) {
      for (int64_t mean = 1; mean <= tokens; mean += 1 + mean / 3) {
        const std::vector<int64_t> budgets =
            PyramidBudgets(OneHeadALayer(layers), layers, tokens, mean);
        EXPECT_EQ(Sum(budgets), layers * mean) << layers << " " << tokens << " " << mean;
        EXPECT_GE(*std::min_element(budgets.begin(), budgets.end()), 1);
        EXPECT_LE(*std::max_element(budgets.begin(), budgets.end()), tokens);
      }
    }
  }
}

// Takes the best entry that is left, one at a time.
std::vector<int64_t> OneByOne(const at::Tensor& scores, const std::vector<int64_t>& groups,
                              int64_t mean, int64_t own, const ProtectedTokens& tokens) {
  const int64_t n = scores.size(1);
  std::vector<int64_t> budgets(groups.size(), own);
  for (const int64_t group : {0, 1}) {
    int64_t left = -own * std::count(groups.begin(), groups.end(), group);
    left += mean * std::count(groups.begin(), groups.end(), group);
    for (; left > 0; --left) {
      int64_t best = -1;
      std::pair<bool, double> best_value;
      for (size_t h = 0; h < groups.size(); ++h) {
        if (groups[h] != group || budgets[h] == n) continue;
        // The head's next entry by its own ranking.
        const int64_t index =
            Ranking(scores[static_cast<int64_t>(h)].unsqueeze(0), tokens)[0][budgets[h]]
                .item<int64_t>();
        const bool is_protected = index < tokens.sinks || index >= n - tokens.recent;
        // Protected ones in turn, from the head with fewest.
        const double value = is_protected ? -static_cast<double>(budgets[h])
                                          : scores[static_cast<int64_t>(h)][index].item<double>();
        if (best < 0 || std::make_pair(is_protected, value) > best_value) {
          best = static_cast<int64_t>(h);
          best_value = {is_protected, value};
        }
      }
      ++budgets[static_cast<size_t>(best)];
    }
  }
  return budgets;
}

TEST(CompetitiveBudgetsTest, TakeTheBestOfAGroupOneByOne) {
  const std::vector<int64_t> groups = {0, 1, 0, 1, 1};
  at::Tensor scores = SeededNormal({5, 40}, 3);
  scores.select(0, 2).add_(1);
  scores.select(0, 3).mul_(4);
  for (const int64_t mean : {1, 6, 20, 39, 40}) {
    for (const auto& tokens : {ProtectedTokens{0, 0}, ProtectedTokens{2, 5}}) {
      const int64_t own = std::max<int64_t>(1, mean / 5);
      const std::vector<int64_t> budgets = CompetitiveBudgets(scores, groups, mean, 0.2, tokens);
      EXPECT_EQ(budgets, OneByOne(scores, groups, mean, own, tokens)) << mean;
      EXPECT_EQ(budgets[0] + budgets[2], 2 * mean);
      EXPECT_EQ(Sum(budgets), 5 * mean);
    }
  }
}

TEST(CompetitiveBudgetsTest, GuardWhatIsAHeadsOwn) {
  at::Tensor scores = SeededUniform({2, 100}, 1);
  scores.select(0, 0).add_(10);
  EXPECT_THAT(CompetitiveBudgets(scores, {0, 0}, 50, 0.2, {0, 0}), ElementsAre(90, 10));
  EXPECT_THAT(CompetitiveBudgets(scores, {0, 0}, 50, 0, {0, 0}), ElementsAre(99, 1));
  // 4 + 16 protected entries are every head's.
  EXPECT_THAT(CompetitiveBudgets(scores, {0, 0}, 50, 0, {4, 16}), ElementsAre(80, 20));
}

TEST(CompetitiveBudgetsTest, AScoreThatIsNoNumberIsWorthLeast) {
  at::Tensor scores = SeededUniform({2, 10}, 1);
  scores[0].fill_(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(CompetitiveBudgets(scores, {0, 0}, 5, 0.2, {0, 0}), ElementsAre(1, 9));
}

}  // namespace
}  // namespace kvp

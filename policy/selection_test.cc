#include "policy/selection.h"

#include <limits>

#include "ATen/ATen.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr ProtectedTokens kNone = {0, 0};

TEST(SelectionTest, BudgetIsRoundedAndAtLeastOne) {
  ASSERT_OK_AND_ASSIGN(const int64_t quarter, BudgetTokens(0.25, 10));
  EXPECT_EQ(quarter, 3);
  ASSERT_OK_AND_ASSIGN(const int64_t least, BudgetTokens(1e-9, 10));
  EXPECT_EQ(least, 1);
  ASSERT_OK_AND_ASSIGN(const int64_t all, BudgetTokens(1, 10));
  EXPECT_EQ(all, 10);
}

TEST(SelectionTest, BudgetOutsideTheUnitIntervalIsRefused) {
  for (const double fraction : {0.0, -1.0, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THAT(BudgetTokens(fraction, 10),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("budget")));
  }
}

TEST(SelectionTest, RankingIsByDescendingScoreTiesToTheEarlier) {
  const at::Tensor scores = at::tensor({1.f, 3.f, 3.f, 2.f, 5.f, 5.f, 5.f, 5.f}).view({2, 4});
  EXPECT_TRUE(at::equal(Ranking(scores, kNone),
                        at::tensor({1, 2, 3, 0, 0, 1, 2, 3}, at::kLong).view({2, 4})));
}

TEST(SelectionTest, ProtectedEntriesComeFirst) {
  const at::Tensor scores = at::tensor({1.f, 2.f, 9.f, 8.f, 7.f, 0.f}).unsqueeze(0);
  EXPECT_TRUE(at::equal(Ranking(scores, {2, 1})[0], at::tensor({1, 0, 5, 2, 3, 4}, at::kLong)));
}

TEST(SelectionTest, FewerEntriesThanProtectedOnesAreAllRanked) {
  const at::Tensor scores = at::tensor({1.f, 2.f, 0.f}).unsqueeze(0);
  EXPECT_TRUE(at::equal(Ranking(scores, {4, 16})[0], at::tensor({1, 0, 2}, at::kLong)));
}

TEST(SelectionTest, AScoreThatIsNoNumberIsWorthLeast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor scores = at::tensor({nan, -1.f, 4.f}).unsqueeze(0);
  EXPECT_TRUE(at::equal(Ranking(scores, kNone)[0], at::tensor({2, 1, 0}, at::kLong)));
}

TEST(SelectionTest, KeptEntriesAreAscendingAndNested) {
  const at::Tensor scores = at::tensor({1.f, 3.f, 4.f, 2.f}).unsqueeze(0);
  ASSERT_OK_AND_ASSIGN(const at::Tensor two, SelectKept(scores, 2, kNone));
  EXPECT_TRUE(at::equal(two[0], at::tensor({1, 2}, at::kLong)));
  ASSERT_OK_AND_ASSIGN(const at::Tensor three, SelectKept(scores, 3, kNone));
  EXPECT_TRUE(at::equal(three[0], at::tensor({1, 2, 3}, at::kLong)));
}

TEST(SelectionTest, BudgetOutsideTheTokensIsRefused) {
  for (const int64_t budget : {0, 5}) {
    EXPECT_THAT(SelectKept(at::zeros({1, 4}), budget, kNone),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("budget")));
  }
}

}  // namespace
}  // namespace kvp

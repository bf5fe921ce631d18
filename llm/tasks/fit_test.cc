#include "llm/tasks/fit.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

TEST(FitTest, FillsTheLimitToOneUnitOrOneIn256) {
  for (const int64_t frame : {0, 50, 700}) {
    for (const double slope : {1.0, 17.0, 130.0}) {
      for (const int64_t limit : {800, 4096, 131072}) {
        int calls = 0;
        const auto count = [&](int64_t size) {
          ++calls;
          return frame + static_cast<int64_t>(slope * size);
        };
        if (count(5) > limit) continue;
        calls = 0;
        ASSERT_OK_AND_ASSIGN(const Fit fit, LargestFitting(5, 1 << 20, limit, count));
        EXPECT_LE(calls, 10) << frame << " " << slope << " " << limit;
        EXPECT_EQ(fit.tokens, count(fit.size));
        EXPECT_LE(fit.tokens, limit);
        EXPECT_TRUE(count(fit.size + 1) > limit || limit - fit.tokens <= limit / 256);
      }
    }
  }
}

TEST(FitTest, ACountThatCurvesOrTremblesStillKeepsTheLimit) {
  const auto curved = [](int64_t size) { return static_cast<int64_t>(100 + std::pow(size, 1.5)); };
  const auto trembling = [](int64_t size) { return 10 * size + size * 7919 % 13; };
  ASSERT_OK_AND_ASSIGN(const Fit curve, LargestFitting(1, 1 << 20, 50000, curved));
  EXPECT_LE(curve.tokens, 50000);
  EXPECT_GE(curve.tokens, 49700);
  ASSERT_OK_AND_ASSIGN(const Fit tremble, LargestFitting(1, 1 << 20, 50000, trembling));
  EXPECT_LE(tremble.tokens, 50000);
  EXPECT_GE(tremble.tokens, 49700);
}

TEST(FitTest, StopsAtTheMaximum) {
  ASSERT_OK_AND_ASSIGN(const Fit fit,
                       LargestFitting(1, 12, 1000, [](int64_t size) { return size; }));
  EXPECT_EQ(fit.size, 12);
  EXPECT_EQ(fit.tokens, 12);
}

TEST(FitTest, AMinimumAboveTheLimitIsRefused) {
  EXPECT_THAT(LargestFitting(3, 10, 20, [](int64_t size) { return 7 * size; }),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("at least 21 tokens, 20")));
}

}  // namespace
}  // namespace kvp

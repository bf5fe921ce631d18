#include "util/head_split.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HeadIdTest, IndexAndBackAreInverse) {
  for (int64_t index = 0; index < 12; ++index) {
    EXPECT_EQ(HeadId::FromIndex(index, 4).Index(4), index);
  }
  EXPECT_EQ(HeadId::FromIndex(7, 4), (HeadId{1, 3}));
}

TEST(SplitHeadsTest, CoversEveryHeadOnceInOrderForAnyNumberOfParts) {
  for (int64_t heads : {1, 7, 8, 112}) {
    for (int64_t parts : {1, 2, 3, 5, 8, 200}) {
      for (int64_t group_size : {1, 4, 16}) {
        ASSERT_OK_AND_ASSIGN(std::vector<HeadRange> ranges, SplitHeads(heads, parts, group_size));
        ASSERT_EQ(ranges.size(), parts);
        int64_t next = 0;
        for (const HeadRange& range : ranges) {
          EXPECT_EQ(range.begin, next);
          EXPECT_GE(range.end, range.begin);
          EXPECT_TRUE(range.begin % group_size == 0 || range.size() == 0) << range.begin;
          next = range.end;
        }
        EXPECT_EQ(next, heads) << parts << " parts in groups of " << group_size;
      }
    }
  }
}

TEST(SplitHeadsTest, SizesDifferByOneGroupAtMost) {
  ASSERT_OK_AND_ASSIGN(std::vector<HeadRange> ranges, SplitHeads(10, 4));
  EXPECT_THAT(ranges,
              ElementsAre(HeadRange{0, 3}, HeadRange{3, 6}, HeadRange{6, 8}, HeadRange{8, 10}));
}

TEST(SplitHeadsTest, RefusesWhatCannotBeSplit) {
  EXPECT_THAT(SplitHeads(8, 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parts=0")));
}

}  // namespace
}  // namespace kvp

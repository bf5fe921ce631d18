#include "util/split_mix64.h"

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SplitMix64Test, DrawsTheReferenceSequence) {
  SplitMix64 random(1234567);  // From the published C program.
  EXPECT_EQ(random.Next(), 6457827717110365317u);
  EXPECT_EQ(random.Next(), 3203168211198807973u);
}

TEST(SplitMix64Test, EverySubsetIsAsLikely) {
  SplitMix64 random(1);
  std::map<std::vector<size_t>, int> counts;
  for (int draw = 0; draw < 10000; ++draw) ++counts[random.Subset(5, 2)];
  ASSERT_EQ(counts.size(), 10u);
  for (const auto& [subset, count] : counts) {
    EXPECT_LT(subset[0], subset[1]);
    EXPECT_NEAR(count, 1000, 150);  // five standard deviations
  }
}

TEST(SplitMix64Test, SubsetsReachFromNothingToAll) {
  SplitMix64 random(1);
  EXPECT_THAT(random.Subset(3, 0), IsEmpty());
  EXPECT_THAT(random.Subset(3, 3), ElementsAre(0, 1, 2));
}

TEST(SplitMix64Test, NeighbouringSeedsShareNoItemSeeds) {
  std::set<uint64_t> seeds;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    for (int64_t index = 0; index < 30; ++index) seeds.insert(ItemSeed(seed, index));
  }
  EXPECT_EQ(seeds.size(), 900u);
}

}  // namespace
}  // namespace kvp

#include "trainer/trace_cache.h"

#include "gtest/gtest.h"
#include "trainer/trace_set.h"

namespace kvp {
namespace {

class TraceCacheTest : public testing::Test {
 protected:
  TraceCacheTest() { trace_.entries = 1; }
  std::shared_ptr<const HeadGroupTensors> Tensors() const {
    return std::make_shared<HeadGroupTensors>(trace_, HeadRange{0, 1}, 1, 1);
  }
  TraceSet::Trace trace_;
};

TEST_F(TraceCacheTest, KeepsWhatCameFirstUpToItsCapacity) {
  TraceCache cache(100);
  const auto first = Tensors();
  const auto third = Tensors();
  cache.Offer({0, 1, 0}, first, 60);
  cache.Offer({0, 2, 0}, Tensors(), 41);
  cache.Offer({0, 3, 0}, third, 40);
  EXPECT_EQ(cache.Find({0, 1, 0}), first);
  EXPECT_EQ(cache.Find({0, 2, 0}), nullptr);
  EXPECT_EQ(cache.Find({0, 3, 0}), third);
  EXPECT_EQ(cache.bytes(), 100);
}

TEST_F(TraceCacheTest, TracesOfOtherSetsAndGroupsAreOthers) {
  TraceCache cache(1000);
  cache.Offer({0, 1, 2}, Tensors(), 1);
  EXPECT_EQ(cache.Find({1, 1, 2}), nullptr);
  EXPECT_EQ(cache.Find({0, 1, 1}), nullptr);
  EXPECT_NE(cache.Find({0, 1, 2}), nullptr);
}

TEST_F(TraceCacheTest, WhatIsOfferedTwiceCountsOnce) {
  TraceCache cache(1000);
  cache.Offer({0, 1, 2}, Tensors(), 10);
  cache.Offer({0, 1, 2}, Tensors(), 10);
  EXPECT_EQ(cache.bytes(), 10);
}

TEST_F(TraceCacheTest, TheDefaultIsPartOfThisMachinesMemory) {
  const int64_t alone = DefaultCacheBytes(1);
  EXPECT_GT(alone, 0);
  EXPECT_LT(alone, int64_t{1} << 50);
  EXPECT_LT(DefaultCacheBytes(8), alone);
}

}  // namespace
}  // namespace kvp

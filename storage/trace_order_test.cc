#include "storage/trace_order.h"

#include <algorithm>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace kvp {
namespace {

TraceId Id(int number) {
  TraceId id{};
  id[3] = static_cast<uint8_t>(number >> 8);
  id[15] = static_cast<uint8_t>(number);
  return id;
}

std::vector<TraceId> Sorted(int count, uint64_t seed) {
  std::vector<TraceId> ids;
  for (int i = 0; i < count; ++i) ids.push_back(Id(i));
  const TraceOrder order(seed);
  std::sort(ids.begin(), ids.end(),
            [&order](const TraceId& a, const TraceId& b) { return order.Before(a, b); });
  return ids;
}

TEST(TraceOrderTest, SeedZeroIsById) {
  const std::vector<TraceId> ids = Sorted(1000, 0);
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
}

TEST(TraceOrderTest, SeedsGiveDifferentShuffles) {
  std::set<std::vector<TraceId>> orders;
  for (uint64_t seed = 0; seed < 20; ++seed) orders.insert(Sorted(50, seed));
  EXPECT_EQ(orders.size(), 20u);
}

// In a random order a trace's place says nothing of its number: over many seeds, each number is in
// the first half about half of the time.
TEST(TraceOrderTest, EveryTraceIsAnywhere) {
  constexpr int kTraces = 40;
  constexpr int kSeeds = 400;
  std::vector<int> in_first_half(kTraces);
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const std::vector<TraceId> ids = Sorted(kTraces, seed);
    for (int i = 0; i < kTraces / 2; ++i) ++in_first_half[ids[i][15]];
  }
  // Six standard deviations, of 10, around the mean of 200.
  for (const int count : in_first_half) {
    EXPECT_GT(count, 140);
    EXPECT_LT(count, 260);
  }
}

TEST(TraceOrderTest, MoreTracesLeaveTheOrderOfTheOthers) {
  std::vector<TraceId> many = Sorted(200, 7);
  many.erase(
      std::remove_if(many.begin(), many.end(), [](const TraceId& id) { return id[15] >= 100; }),
      many.end());
  EXPECT_EQ(many, Sorted(100, 7));
}

}  // namespace
}  // namespace kvp

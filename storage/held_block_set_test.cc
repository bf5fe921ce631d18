#include "storage/held_block_set.h"

#include "gtest/gtest.h"

namespace kvp {
namespace {

HeadBlockKey Key(int32_t layer, int32_t kv_head, int32_t block) {
  HeadBlockKey key;
  key.head = {layer, kv_head};
  key.block = block;
  return key;
}

TEST(HeldBlockSet, ContainsBlocksWithTheVeryTokensTold) {
  HeldBlocks held;
  held.set_trace_id("0123456789abcdef");
  HeldHead& head = *held.add_heads();
  head.set_layer(2);
  head.set_kv_head(1);
  for (const int32_t tokens : {4, 4, 2}) head.add_tokens(tokens);
  const HeldBlockSet set(held);
  EXPECT_EQ(set.trace_id(), "0123456789abcdef");
  EXPECT_TRUE(set.Contains(Key(2, 1, 0), 0, 4));
  EXPECT_TRUE(set.Contains(Key(2, 1, 1), 4, 4));
  EXPECT_TRUE(set.Contains(Key(2, 1, 2), 8, 2));
  EXPECT_FALSE(set.Contains(Key(2, 1, 2), 8, 4));
  EXPECT_FALSE(set.Contains(Key(2, 1, 1), 8, 2));
  EXPECT_FALSE(set.Contains(Key(2, 1, 1), 0, 8));
  EXPECT_FALSE(set.Contains(Key(2, 1, 3), 10, 1));
  EXPECT_FALSE(set.Contains(Key(2, 1, -1), 0, 4));
  EXPECT_FALSE(set.Contains(Key(2, 0, 0), 0, 4));
  EXPECT_FALSE(set.Contains(Key(1, 2, 0), 0, 4));
}

// What a shard says comes from outside.
TEST(HeldBlockSet, NonsenseIsHarmless) {
  HeldBlocks held;
  HeldHead& head = *held.add_heads();
  for (const int32_t tokens : {INT32_MAX, INT32_MAX, INT32_MIN, -1}) head.add_tokens(tokens);
  *held.add_heads() = head;
  const HeldBlockSet set(held);
  EXPECT_FALSE(set.Contains(Key(0, 0, 1), INT32_MAX, INT32_MIN));
  EXPECT_FALSE(set.Contains(Key(0, 0, 2), -2, 1));
}

}  // namespace
}  // namespace kvp

#include "storage/key_encoding.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

HeadBlockKey Key(int32_t layer, int32_t kv_head, uint8_t trace, int32_t block) {
  HeadBlockKey key;
  key.head = {layer, kv_head};
  key.trace_id.fill(0x11);
  key.trace_id[3] = trace;
  key.block = block;
  return key;
}

// Keys whose fields take values on both sides of every byte's carry.
std::vector<HeadBlockKey> ManyKeys() {
  std::vector<HeadBlockKey> keys;
  for (const int32_t layer : {0, 1, 255, 256, 65536}) {
    for (const int32_t head : {0, 7, 255, 256}) {
      for (const uint8_t trace : {0, 127, 128, 255}) {
        for (const int32_t block : {0, 1, 255, 256, 1 << 24, INT32_MAX}) {
          keys.push_back(Key(layer, head, trace, block));
        }
      }
    }
  }
  return keys;
}

TEST(KeyEncoding, BlockKeysCompareAsEpochLayerHeadTraceBlock) {
  std::vector<BlockKey> keys;
  const std::vector<uint64_t> epochs = {0, 1, 255, 256, uint64_t{1} << 40};
  for (const HeadBlockKey& block : ManyKeys()) {
    keys.push_back({epochs[keys.size() % epochs.size()], block});
  }
  const auto fields = [](const BlockKey& key) {
    return std::make_tuple(key.epoch, key.block.head.layer, key.block.head.kv_head,
                           key.block.trace_id, key.block.block);
  };
  for (const BlockKey& a : keys) {
    for (const BlockKey& b : keys) {
      ASSERT_EQ(EncodeBlockKey(a) < EncodeBlockKey(b), fields(a) < fields(b))
          << a.epoch << " " << HeadBlockKeyText(a.block) << " and " << b.epoch << " "
          << HeadBlockKeyText(b.block);
    }
  }
}

TEST(KeyEncoding, IndexKeysCompareAsTraceLayerHeadBlock) {
  std::vector<HeadBlockKey> keys = ManyKeys();
  const auto fields = [](const HeadBlockKey& key) {
    return std::make_tuple(key.trace_id, key.head.layer, key.head.kv_head, key.block);
  };
  for (const HeadBlockKey& a : keys) {
    for (const HeadBlockKey& b : keys) {
      ASSERT_EQ(EncodeIndexKey(a) < EncodeIndexKey(b), fields(a) < fields(b))
          << HeadBlockKeyText(a) << " and " << HeadBlockKeyText(b);
    }
  }
}

TEST(KeyEncoding, BytesAreThoseOfTheFormat) {
  const HeadBlockKey key = Key(1, 2, 0xab, 3);
  const std::string trace = "111111ab111111111111111111111111";
  EXPECT_EQ(absl::BytesToHexString(EncodeBlockKey({0x0a0b, key})),
            "0000000000000a0b0000000100000002" + trace + "00000003");
  EXPECT_EQ(absl::BytesToHexString(EncodeIndexKey(key)), trace + "0000000100000002" + "00000003");
  IndexEntry entry;
  entry.first_token = 1;
  entry.tokens = 2;
  entry.head_dim = 3;
  entry.cuts = 4;
  entry.encoded_bytes = 5;
  entry.stored_at_s = 0x0102030405;
  entry.epoch = 6;
  EXPECT_EQ(absl::BytesToHexString(EncodeIndexEntry(entry)),
            "000000010000000200000003000000040000000500000001020304050000000000000006");
}

TEST(KeyEncoding, DecodesToWhatWasEncoded) {
  for (const HeadBlockKey& key : ManyKeys()) {
    ASSERT_OK_AND_ASSIGN(const BlockKey block_key, DecodeBlockKey(EncodeBlockKey({9, key})));
    EXPECT_EQ(block_key.epoch, 9u);
    EXPECT_EQ(HeadBlockKeyText(block_key.block), HeadBlockKeyText(key));
    ASSERT_OK_AND_ASSIGN(const HeadBlockKey index_key, DecodeIndexKey(EncodeIndexKey(key)));
    EXPECT_EQ(HeadBlockKeyText(index_key), HeadBlockKeyText(key));
  }
  IndexEntry entry;
  entry.encoded_bytes = 77;
  entry.stored_at_s = 1'700'000'000;
  entry.epoch = uint64_t{1} << 63;
  ASSERT_OK_AND_ASSIGN(const IndexEntry decoded, DecodeIndexEntry(EncodeIndexEntry(entry)));
  EXPECT_EQ(decoded.encoded_bytes, 77);
  EXPECT_EQ(decoded.stored_at_s, 1'700'000'000);
  EXPECT_EQ(decoded.epoch, uint64_t{1} << 63);
}

TEST(KeyEncoding, OtherSizesAreDataLoss) {
  EXPECT_THAT(DecodeBlockKey("short"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("block key")));
  EXPECT_THAT(DecodeIndexKey("short"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("index key")));
  EXPECT_THAT(DecodeIndexEntry(""),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("index entry")));
}

TEST(KeyEncoding, PrefixesCoverATraceAndAHeadOfIt) {
  const HeadBlockKey key = Key(1, 2, 3, 4);
  EXPECT_TRUE(absl::StartsWith(EncodeIndexKey(key), IndexPrefix(key.trace_id)));
  EXPECT_TRUE(absl::StartsWith(EncodeIndexKey(key), IndexPrefix(key.trace_id, key.head)));
  EXPECT_FALSE(absl::StartsWith(EncodeIndexKey(key), IndexPrefix(key.trace_id, HeadId{1, 3})));
}

}  // namespace
}  // namespace kvp

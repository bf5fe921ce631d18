#include "storage/head_block.h"

#include <string>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

HeadBlock SmallBlock() {
  HeadBlock block;
  block.key.head = {1, 2};
  for (int i = 0; i < 16; ++i) block.key.trace_id[i] = static_cast<uint8_t>(0xa0 + i);
  block.key.block = 3;
  block.first_token = 0x01020304;
  block.tokens = 2;
  block.head_dim = 1;
  block.cuts = 3;
  block.keys = "KkKk";
  block.values = "VvVv";
  block.labels = "0123456789ab";
  return block;
}

TEST(HeadBlock, DecodesToWhatWasEncoded) {
  const HeadBlock block = SmallBlock();
  ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeHeadBlock(block));
  ASSERT_OK_AND_ASSIGN(const HeadBlock decoded, DecodeHeadBlock(encoded));
  EXPECT_TRUE(decoded.key.head == block.key.head);
  EXPECT_EQ(decoded.key.trace_id, block.key.trace_id);
  EXPECT_EQ(decoded.key.block, block.key.block);
  EXPECT_EQ(decoded.first_token, block.first_token);
  EXPECT_EQ(decoded.tokens, block.tokens);
  EXPECT_EQ(decoded.head_dim, block.head_dim);
  EXPECT_EQ(decoded.cuts, block.cuts);
  EXPECT_EQ(decoded.keys, block.keys);
  EXPECT_EQ(decoded.values, block.values);
  EXPECT_EQ(decoded.labels, block.labels);
}

HeadBlock Float8BlockWithQueries() {
  HeadBlock block = SmallBlock();
  block.kv_dtype = KvDtype::kFloat8;
  block.query_heads = 3;
  block.key_scales = "skal";
  block.value_scales = "SVAL";
  block.keys = "Kk";
  block.values = "Vv";
  block.queries = "qQqQqQqQqQqQ";
  return block;
}

TEST(HeadBlock, Float8WithScalesAndQueriesDecodesToWhatWasEncoded) {
  const HeadBlock block = Float8BlockWithQueries();
  ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeHeadBlock(block));
  ASSERT_OK_AND_ASSIGN(const HeadBlock decoded, DecodeHeadBlock(encoded));
  EXPECT_EQ(decoded.kv_dtype, KvDtype::kFloat8);
  EXPECT_EQ(decoded.query_heads, 3);
  EXPECT_EQ(decoded.key_scales, block.key_scales);
  EXPECT_EQ(decoded.value_scales, block.value_scales);
  EXPECT_EQ(decoded.keys, block.keys);
  EXPECT_EQ(decoded.values, block.values);
  EXPECT_EQ(decoded.labels, block.labels);
  EXPECT_EQ(decoded.queries, block.queries);
  EXPECT_EQ(EncodedBlockBytes(2, 1, 3, KvDtype::kFloat8, 3), encoded.size());
}

// The bytes were laid out from the table by a separate program, with a bitwise CRC32C.
TEST(HeadBlock, BytesAreThoseOfTheFormat) {
  ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeHeadBlock(SmallBlock()));
  EXPECT_EQ(absl::BytesToHexString(encoded),
            "4b565042020101000100000002000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
            "03000000040302010200000001000000030000000000000014000000a76f9744"
            "4b6b4b6b567656763031323334353637383961625e99ef62");
  ASSERT_OK_AND_ASSIGN(const std::string float8, EncodeHeadBlock(Float8BlockWithQueries()));
  EXPECT_EQ(absl::BytesToHexString(float8),
            "4b565042020201010100000002000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
            "03000000040302010200000001000000030000000300000024000000874c6702"
            "736b616c5356414c4b6b56763031323334353637383961627151715171517151"
            "71517151f9320cbd");
}

TEST(HeadBlock, EveryTruncationIsRefused) {
  ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeHeadBlock(SmallBlock()));
  for (size_t size = 0; size < encoded.size(); ++size) {
    // Of exact size, so that a sanitizer sees a read past the end.
    const std::string truncated(encoded.data(), size);
    EXPECT_THAT(DecodeHeadBlock(truncated),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("head block")))
        << size;
  }
  EXPECT_THAT(DecodeHeadBlock(encoded + "x"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("bytes")));
}

TEST(HeadBlock, ABlockOfTheVersionBeforeIsRefusedByVersion) {
  ASSERT_OK_AND_ASSIGN(std::string encoded, EncodeHeadBlock(SmallBlock()));
  encoded[4] = 1;
  EXPECT_THAT(DecodeHeadBlock(encoded), StatusIs(absl::StatusCode::kInvalidArgument,
                                                 HasSubstr("version is 1, not between 2 and 2")));
}

TEST(HeadBlock, EverySingleBitFlipIsRefused) {
  ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeHeadBlock(Float8BlockWithQueries()));
  for (size_t bit = 0; bit < 8 * encoded.size(); ++bit) {
    std::string flipped = encoded;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const absl::StatusOr<HeadBlock> decoded = DecodeHeadBlock(flipped);
    ASSERT_FALSE(decoded.ok()) << "bit " << bit;
    EXPECT_THAT(decoded.status().code(),
                AnyOf(absl::StatusCode::kDataLoss, absl::StatusCode::kInvalidArgument))
        << "bit " << bit;
  }
}

TEST(HeadBlock, SizesThatDisagreeAreRefusedByName) {
  HeadBlock block = SmallBlock();
  block.keys.pop_back();
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("keys")));
  block = SmallBlock();
  block.values += "x";
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("values")));
  block = SmallBlock();
  block.labels.clear();
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("labels")));
  block = SmallBlock();
  block.key_scales = "four";
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("key_scales")));
  block = SmallBlock();
  block.query_heads = 1;
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("queries")));
  block = SmallBlock();
  block.query_heads = kMaxQueryHeads + 1;
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("query_heads is 257")));
  block = SmallBlock();
  block.kv_dtype = static_cast<KvDtype>(3);
  EXPECT_THAT(EncodeHeadBlock(block), StatusIs(absl::StatusCode::kInvalidArgument,
                                               HasSubstr("dtype of keys and values is 3")));
  block = SmallBlock();
  block.tokens = 0;
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokens")));
  block = SmallBlock();
  block.head_dim = kMaxHeadDim + 1;
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("head_dim")));
  block = SmallBlock();
  block.key.head.layer = -1;
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layer")));
  block = SmallBlock();
  block.first_token = INT32_MAX;
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("first_token")));
}

TEST(HeadBlock, BlockAboveTheMessageCapIsRefused) {
  HeadBlock block = SmallBlock();
  block.tokens = kMaxBlockTokens;
  block.head_dim = kMaxHeadDim;
  block.cuts = 0;
  block.first_token = 0;
  block.keys.assign(size_t{2} * block.tokens * block.head_dim, 'k');
  block.values = block.keys;
  block.labels.clear();
  EXPECT_THAT(EncodeHeadBlock(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("encoded size")));
}

TEST(TraceId, HasSixteenBytesAndReadsAsHex) {
  EXPECT_THAT(TraceIdFromBytes("short"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("trace_id")));
  ASSERT_OK_AND_ASSIGN(const TraceId id, TraceIdFromBytes(std::string(15, '\0') + "\x7f"));
  EXPECT_EQ(TraceIdText(id), "0000000000000000000000000000007f");
}

}  // namespace
}  // namespace kvp

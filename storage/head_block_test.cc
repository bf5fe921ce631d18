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

// The bytes were laid out from the table by a separate program, with a bitwise CRC32C.
TEST(HeadBlock, BytesAreThoseOfTheFormat) {
  ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeHeadBlock(SmallBlock()));
  EXPECT_EQ(absl::BytesToHexString(encoded),
            "4b565042010101000100000002000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
            "0300000004030201020000000100000003000000140000002d9a8ae54b6b4b6b"
            "567656763031323334353637383961625e99ef62");
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

TEST(HeadBlock, EverySingleBitFlipIsRefused) {
  ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeHeadBlock(SmallBlock()));
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

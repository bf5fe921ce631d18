#include "storage/block_quantization.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/small_floats.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kTokens = 50;
constexpr int32_t kHeadDim = 6;

std::string Bf16Bytes(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) {
    const uint16_t bits = Bfloat16FromFloat(value);
    bytes.push_back(static_cast<char>(bits & 0xff));
    bytes.push_back(static_cast<char>(bits >> 8));
  }
  return bytes;
}

std::vector<float> Bf16Values(const std::string& bytes) {
  std::vector<float> values;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    values.push_back(FloatFromBfloat16(static_cast<uint16_t>(
        static_cast<uint8_t>(bytes[i]) | static_cast<uint8_t>(bytes[i + 1]) << 8)));
  }
  return values;
}

// Channels whose sizes differ by orders of magnitude.
HeadBlock Block() {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  HeadBlock block;
  block.tokens = kTokens;
  block.head_dim = kHeadDim;
  block.cuts = 1;
  block.labels = std::string(2 * kTokens, 'l');
  for (std::string* rows : {&block.keys, &block.values}) {
    std::vector<float> values;
    for (int t = 0; t < kTokens; ++t) {
      for (int c = 0; c < kHeadDim; ++c)
        values.push_back(normal(random) * std::pow(10.0f, 2 * c - 6));
    }
    *rows = Bf16Bytes(values);
  }
  return block;
}

TEST(BlockQuantization, ErrsByLessThanFloat8sPrecisionInEveryChannel) {
  const HeadBlock block = Block();
  ASSERT_OK_AND_ASSIGN(const HeadBlock quantized, QuantizeToFloat8(block));
  EXPECT_EQ(quantized.kv_dtype, KvDtype::kFloat8);
  EXPECT_EQ(quantized.keys.size(), block.keys.size() / 2);
  EXPECT_EQ(quantized.key_scales.size(), 4 * kHeadDim);
  ASSERT_OK(EncodeHeadBlock(quantized));
  ASSERT_OK_AND_ASSIGN(const HeadBlock back, DequantizeToBf16(quantized));
  EXPECT_EQ(back.kv_dtype, KvDtype::kBf16);
  EXPECT_EQ(back.labels, block.labels);
  EXPECT_TRUE(back.key_scales.empty());
  ASSERT_OK(EncodeHeadBlock(back));
  for (const auto member : {&HeadBlock::keys, &HeadBlock::values}) {
    const std::vector<float> before = Bf16Values(block.*member);
    const std::vector<float> after = Bf16Values(back.*member);
    for (int c = 0; c < kHeadDim; ++c) {
      float largest = 0;
      for (int t = 0; t < kTokens; ++t) {
        largest = std::max(largest, std::abs(before[t * kHeadDim + c]));
      }
      for (int t = 0; t < kTokens; ++t) {
        const float exact = before[t * kHeadDim + c];
        // Half a step of 3 bits of mantissa, half of the smallest step 2^-9 of 448, bf16's
        // rounding.
        const float bound = std::abs(exact) / 16 + largest / 448 / 1024 + std::abs(exact) / 256;
        EXPECT_LE(std::abs(after[t * kHeadDim + c] - exact), bound) << "channel " << c;
      }
    }
  }
}

TEST(BlockQuantization, TheLargestOfAChannelSurvivesAndZerosStayZeros) {
  HeadBlock block = Block();
  std::vector<float> values(kTokens * kHeadDim, 0);
  values[7 * kHeadDim + 2] = -3.5f;
  block.keys = Bf16Bytes(values);
  ASSERT_OK_AND_ASSIGN(const HeadBlock quantized, QuantizeToFloat8(block));
  ASSERT_OK_AND_ASSIGN(const HeadBlock back, DequantizeToBf16(quantized));
  EXPECT_EQ(Bf16Values(back.keys), values);
}

TEST(BlockQuantization, ExtremesBreakNothing) {
  HeadBlock block = Block();
  std::vector<float> values(kTokens * kHeadDim, 1);
  values[0] = INFINITY;
  values[1] = NAN;
  values[2] = 3e38f;
  for (int t = 0; t < kTokens; ++t) values[t * kHeadDim + 3] = 1e-39f;
  block.keys = Bf16Bytes(values);
  ASSERT_OK_AND_ASSIGN(const HeadBlock quantized, QuantizeToFloat8(block));
  ASSERT_OK_AND_ASSIGN(const HeadBlock back, DequantizeToBf16(quantized));
  const std::vector<float> after = Bf16Values(back.keys);
  EXPECT_EQ(after[0], 1) << "saturates at the channel's largest finite number";
  EXPECT_TRUE(std::isnan(after[1]));
  EXPECT_NEAR(after[2], 3e38f, 2e36f);
  EXPECT_EQ(after[3], 0);
  EXPECT_EQ(after[kHeadDim], 1);
}

TEST(BlockQuantization, WhatDoesNotFitIsRefused) {
  ASSERT_OK_AND_ASSIGN(const HeadBlock quantized, QuantizeToFloat8(Block()));
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(QuantizeToFloat8(quantized), StatusIs(kInvalid, HasSubstr("kv_dtype is 2")));
  HeadBlock block = Block();
  block.values.pop_back();
  EXPECT_THAT(QuantizeToFloat8(block), StatusIs(kInvalid, HasSubstr("values")));
  HeadBlock scales = quantized;
  scales.key_scales.pop_back();
  EXPECT_THAT(DequantizeToBf16(scales), StatusIs(kInvalid, HasSubstr("key_scales")));
  HeadBlock keys = quantized;
  keys.keys += "x";
  EXPECT_THAT(DequantizeToBf16(keys), StatusIs(kInvalid, HasSubstr("keys")));
}

}  // namespace
}  // namespace kvp

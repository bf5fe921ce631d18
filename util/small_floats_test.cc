#include "util/small_floats.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "gtest/gtest.h"

namespace kvp {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// The format's definition, in double: (-1)^s 2^(e-7) (1 + m/8), or (-1)^s 2^-6 m/8 where e is 0.
double Float8Value(int bits) {
  const int e = (bits >> 3) & 15;
  const double m = bits & 7;
  const double value = e == 0 ? std::pow(2.0, -6) * m / 8 : std::pow(2.0, e - 7) * (1 + m / 8);
  return bits >= 128 ? -value : value;
}

// The nearest positive finite number by search through all of them, the even one of two.
int NearestFloat8(double magnitude) {
  int best = 0;
  for (int bits = 1; bits < 0x7f; ++bits) {
    const double distance = std::abs(Float8Value(bits) - magnitude);
    const double best_distance = std::abs(Float8Value(best) - magnitude);
    if (distance < best_distance || (distance == best_distance && bits % 2 == 0)) best = bits;
  }
  return best;
}

TEST(Float8, EveryNumberIsWhatTheDefinitionSays) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = FloatFromFloat8(static_cast<uint8_t>(bits));
    if ((bits & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else {
      EXPECT_EQ(value, Float8Value(bits)) << bits;
      EXPECT_EQ(std::signbit(value), bits >= 128) << bits;
      EXPECT_EQ(Float8FromFloat(value), bits);
    }
  }
  EXPECT_EQ(FloatFromFloat8(0x7e), kFloat8Max);
}

TEST(Float8, EveryTieGoesToTheEvenNumberAndItsNeighboursToTheNearest) {
  for (int bits = 0; bits < 0x7e; ++bits) {
    // Exact in fp32.
    const float middle = static_cast<float>((Float8Value(bits) + Float8Value(bits + 1)) / 2);
    const int even = bits % 2 == 0 ? bits : bits + 1;
    EXPECT_EQ(Float8FromFloat(middle), even) << bits;
    EXPECT_EQ(Float8FromFloat(-middle), even + 128) << bits;
    EXPECT_EQ(Float8FromFloat(std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(Float8FromFloat(std::nextafter(middle, kInf)), bits + 1);
  }
}

TEST(Float8, EveryBfloat16NumberGoesToTheNearest) {
  for (uint32_t high = 0; high < 0x10000; ++high) {
    const float value = FloatOf(high << 16);
    const int sign = std::signbit(value) ? 128 : 0;
    if (std::isnan(value)) {
      EXPECT_EQ(Float8FromFloat(value), 0x7f + sign);
    } else {
      EXPECT_EQ(Float8FromFloat(value),
                NearestFloat8(std::min(448.0, std::abs(double{value}))) + sign)
          << value;
    }
  }
}

TEST(Float8, WhatIsTooLargeSaturates) {
  for (const float value :
       {448.0f, 448.1f, 464.0f, 480.0f, 1e9f, std::numeric_limits<float>::max(), kInf}) {
    EXPECT_EQ(Float8FromFloat(value), 0x7e) << value;
    EXPECT_EQ(Float8FromFloat(-value), 0xfe) << value;
  }
  EXPECT_EQ(Float8FromFloat(1e-30f), 0);
  EXPECT_EQ(Float8FromFloat(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(Bfloat16, EveryNumberSurvivesAndTiesGoToTheEvenOne) {
  for (uint32_t bits = 0; bits < 0xffff; ++bits) {
    const float value = FloatFromBfloat16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(FloatFromBfloat16(Bfloat16FromFloat(value))));
      continue;
    }
    EXPECT_EQ(Bfloat16FromFloat(value), bits);
    if (std::isinf(value)) continue;
    // The fp32 bits between this number and the next away from zero.
    const uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    EXPECT_EQ(Bfloat16FromFloat(FloatOf((bits << 16) + 0x8000)), even);
    EXPECT_EQ(Bfloat16FromFloat(FloatOf((bits << 16) + 0x7fff)), bits);
    EXPECT_EQ(Bfloat16FromFloat(FloatOf((bits << 16) + 0x8001)), bits + 1);
  }
  // A NaN whose upper half alone would be infinity.
  EXPECT_TRUE(std::isnan(FloatFromBfloat16(Bfloat16FromFloat(FloatOf(0x7f800001)))));
  EXPECT_TRUE(std::isnan(FloatFromBfloat16(Bfloat16FromFloat(kNan))));
}

}  // namespace
}  // namespace kvp

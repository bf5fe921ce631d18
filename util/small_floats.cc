#include "util/small_floats.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace kvp {
namespace {

constexpr uint32_t kSign = 0x80000000;
constexpr uint32_t kInfinity = 0x7f800000;
// Of fp32: 448, the largest float8; 2^-6, its smallest normal number; 2^14.
constexpr uint32_t kFloat8MaxBits = 0x43e00000;
constexpr uint32_t kFloat8NormalBits = 0x3c800000;
constexpr uint32_t kTwoToThe14thBits = 0x46800000;
constexpr uint8_t kFloat8Nan = 0x7f;

uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

std::array<float, 256> MakeFloat8Values() {
  std::array<float, 256> values{};
  for (int bits = 0; bits < 256; ++bits) {
    const int exponent = (bits >> 3) & 15;
    const int mantissa = bits & 7;
    float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
    if ((bits & 0x7f) == kFloat8Nan) value = std::numeric_limits<float>::quiet_NaN();
    values[bits] = (bits & 0x80) != 0 ? -value : value;
  }
  return values;
}

}  // namespace

uint8_t Float8FromFloat(float value) {
  const uint32_t bits = BitsOf(value);
  const uint32_t magnitude = bits & ~kSign;
  const uint8_t sign = (bits & kSign) != 0 ? 0x80 : 0;
  if (magnitude > kInfinity) return sign | kFloat8Nan;
  if (magnitude >= kFloat8MaxBits) return sign | (kFloat8Nan - 1);
  if (magnitude < kFloat8NormalBits) {
    // Between 2^14 and 2^15 fp32 numbers lie 2^-9 apart, as the subnormal ones here do: the sum is
    // rounded to what is wanted.
    const float sum = FloatOf(magnitude) + FloatOf(kTwoToThe14thBits);
    return sign | static_cast<uint8_t>(BitsOf(sum) - kTwoToThe14thBits);
  }
  // 20 of the 23 bits of mantissa go; a carry into the exponent is right.
  const uint32_t odd = (magnitude >> 20) & 1;
  const uint32_t rounded = (magnitude + 0x7ffff + odd) >> 20;
  return sign | static_cast<uint8_t>(rounded - ((127 - 7) << 3));
}

float FloatFromFloat8(uint8_t bits) {
  static const auto& values = *new std::array<float, 256>(MakeFloat8Values());
  return values[bits];
}

uint16_t Bfloat16FromFloat(float value) {
  const uint32_t bits = BitsOf(value);
  if ((bits & ~kSign) > kInfinity) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float FloatFromBfloat16(uint16_t bits) { return FloatOf(uint32_t{bits} << 16); }

}  // namespace kvp

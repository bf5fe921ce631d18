// Floating-point numbers of 8 and 16 bits, without torch.

#ifndef KVP_UTIL_SMALL_FLOATS_H_
#define KVP_UTIL_SMALL_FLOATS_H_

#include <cstdint>

namespace kvp {

// The largest finite number of float8 e4m3.
constexpr float kFloat8Max = 448;

// The float8 number (e4m3fn of the Open Compute Project's "OCP 8-bit Floating Point Specification":
// a sign, 4 bits of exponent with bias 7, 3 of mantissa, no infinities) that is nearest to `value`,
// ties going to the even mantissa. What is larger than 448, infinities included, becomes ±448; a
// NaN stays one.
uint8_t Float8FromFloat(float value);

// Exact.
float FloatFromFloat8(uint8_t bits);

// The bfloat16 number nearest to `value`, ties going to the even mantissa; a NaN stays one.
uint16_t Bfloat16FromFloat(float value);

// Exact.
float FloatFromBfloat16(uint16_t bits);

}  // namespace kvp

#endif  // KVP_UTIL_SMALL_FLOATS_H_

#include "util/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace kvp {
namespace {

constexpr uint32_t kReflectedPolynomial = 0x82f63b78;

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) ? kReflectedPolynomial : 0);
    }
    table[byte] = crc;
  }
  return table;
}

#if defined(__x86_64__)
// The instruction gives a result every cycle, but each only after three: so three lanes of this
// many bytes go side by side.
constexpr size_t kLaneBytes = 4096;

uint64_t WordAt(const char* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// What a lane of zeros makes of the state before it. That is linear over GF(2): the state after a
// lane of data is this, plus (exclusive or) what the data makes of state 0.
class ZeroLane {
 public:
  __attribute__((target("sse4.2"))) ZeroLane() {
    for (int byte = 0; byte < 4; ++byte) {
      for (uint32_t value = 1; value < 256; ++value) {
        uint32_t& entry = table_[byte][value];
        if ((value & (value - 1)) != 0) {
          entry = table_[byte][value & (value - 1)] ^ table_[byte][value & -value];
          continue;
        }
        uint64_t state = value << (8 * byte);
        for (size_t i = 0; i < kLaneBytes; i += 8) state = _mm_crc32_u64(state, 0);
        entry = static_cast<uint32_t>(state);
      }
    }
  }

  uint64_t After(uint64_t state) const {
    return table_[0][state & 0xff] ^ table_[1][state >> 8 & 0xff] ^ table_[2][state >> 16 & 0xff] ^
           table_[3][state >> 24 & 0xff];
  }

 private:
  // By the state's bytes, the lowest first.
  uint32_t table_[4][256] = {};
};

__attribute__((target("sse4.2"))) uint32_t Crc32cHardware(absl::string_view data, uint32_t crc) {
  static const ZeroLane& zero_lane = *new ZeroLane();
  uint64_t state = ~crc;
  const char* next = data.data();
  size_t left = data.size();
  for (; left >= 3 * kLaneBytes; left -= 3 * kLaneBytes, next += 3 * kLaneBytes) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < kLaneBytes; i += 8) {
      state = _mm_crc32_u64(state, WordAt(next + i));
      second = _mm_crc32_u64(second, WordAt(next + kLaneBytes + i));
      third = _mm_crc32_u64(third, WordAt(next + 2 * kLaneBytes + i));
    }
    state = zero_lane.After(zero_lane.After(state) ^ second) ^ third;
  }
  for (; left >= 8; left -= 8, next += 8) state = _mm_crc32_u64(state, WordAt(next));
  for (; left > 0; --left, ++next) {
    state = _mm_crc32_u8(static_cast<uint32_t>(state), static_cast<uint8_t>(*next));
  }
  return ~static_cast<uint32_t>(state);
}
#endif

}  // namespace

namespace internal {

uint32_t Crc32cPortable(absl::string_view data, uint32_t crc) {
  static constexpr std::array<uint32_t, 256> kTable = MakeTable();
  crc = ~crc;
  for (unsigned char byte : data) crc = kTable[(crc ^ byte) & 0xff] ^ (crc >> 8);
  return ~crc;
}

}  // namespace internal

uint32_t Crc32c(absl::string_view data, uint32_t crc) {
#if defined(__x86_64__)
  static const bool has_hardware = __builtin_cpu_supports("sse4.2");
  if (has_hardware) return Crc32cHardware(data, crc);
#endif
  return internal::Crc32cPortable(data, crc);
}

}  // namespace kvp

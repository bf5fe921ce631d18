#include "util/split_mix64.h"

#include <set>

namespace kvp {

uint64_t SplitMix64::Next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::vector<size_t> SplitMix64::Subset(size_t range, size_t count) {
  // Floyd's algorithm (Bentley and Floyd 1987): one draw for each number.
  std::set<size_t> chosen;
  for (size_t last = range - count; last < range; ++last) {
    if (!chosen.insert(Below(last + 1)).second) chosen.insert(last);
  }
  return std::vector<size_t>(chosen.begin(), chosen.end());
}

uint64_t ItemSeed(uint64_t seed, int64_t index) {
  const uint64_t base = SplitMix64(seed).Next();
  return SplitMix64(base + static_cast<uint64_t>(index)).Next();
}

}  // namespace kvp

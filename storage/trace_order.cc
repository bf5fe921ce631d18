#include "storage/trace_order.h"

namespace kvp {
namespace {

// The finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
// generators", 2014): a bijection that spreads every bit.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

std::pair<uint64_t, TraceId> TraceOrder::Place(const TraceId& id) const {
  if (seed_ == 0) return {0, id};
  uint64_t hash = Mix(seed_ + 0x9e3779b97f4a7c15);
  for (size_t begin = 0; begin < id.size(); begin += 8) {
    uint64_t word = 0;
    for (size_t i = 0; i < 8; ++i) word = word << 8 | id[begin + i];
    hash = Mix(hash ^ word);
  }
  return {hash, id};
}

}  // namespace kvp

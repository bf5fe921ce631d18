// A small random generator whose numbers are the same with every compiler and standard library,
// unlike those of the distributions of <random>: what is generated from a seed can be pinned.

#ifndef KVP_UTIL_SPLIT_MIX64_H_
#define KVP_UTIL_SPLIT_MIX64_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace kvp {

// SplitMix64 (Steele et al. 2014). Not cryptographic.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t Next();
  // Uniform in [0, bound); bound > 0.
  size_t Below(size_t bound) { return Next() % bound; }
  // Uniform in [0, 1).
  double Uniform() { return (Next() >> 11) * 0x1.0p-53; }

  template <typename T>
  void Shuffle(std::vector<T>* items) {
    for (size_t i = items->size(); i > 1; --i) {
      std::swap((*items)[i - 1], (*items)[Below(i)]);
    }
  }

  // `count` different numbers of [0, range), ascending; each subset is as likely. count <= range.
  std::vector<size_t> Subset(size_t range, size_t count);

 private:
  uint64_t state_;
};

// The seed of item `index` of what `seed` names: neighbouring seeds share no items.
uint64_t ItemSeed(uint64_t seed, int64_t index);

}  // namespace kvp

#endif  // KVP_UTIL_SPLIT_MIX64_H_

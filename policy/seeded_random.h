// Random numbers that are functions of what they are for: no generator, no state, so that the same
// seed gives the same numbers whoever draws them, in whatever order.

#ifndef KVP_POLICY_SEEDED_RANDOM_H_
#define KVP_POLICY_SEEDED_RANDOM_H_

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "ATen/core/Tensor.h"

namespace kvp {

// A 64-bit hash of the sequence `parts` (the finaliser of SplitMix64, Steele et al. 2014, chained):
// the seed of whatever the parts name. Not cryptographic.
uint64_t MixSeed(std::initializer_list<uint64_t> parts);

// fp32 CPU tensors whose element i depends on `seed` and i alone.
// Uniform in the open interval (0, 1).
at::Tensor SeededUniform(const std::vector<int64_t>& shape, uint64_t seed);
// Its elements at `indices` (int64 on the CPU, contiguous, not negative), in their shape.
at::Tensor SeededUniformAt(const at::Tensor& indices, uint64_t seed);
// Standard Gumbel: -log(-log(uniform)).
at::Tensor SeededGumbel(const std::vector<int64_t>& shape, uint64_t seed);
// Standard normal (Box and Muller, 1958).
at::Tensor SeededNormal(const std::vector<int64_t>& shape, uint64_t seed);

// `count` different numbers of [0, range), ascending; each subset is as likely. All of them where
// count >= range.
std::vector<int64_t> SeededSubset(int64_t range, int64_t count, uint64_t seed);

}  // namespace kvp

#endif  // KVP_POLICY_SEEDED_RANDOM_H_

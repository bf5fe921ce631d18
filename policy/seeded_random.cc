#include "policy/seeded_random.h"

#include <algorithm>
#include <numeric>

#include "ATen/ATen.h"

namespace kvp {
namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;

uint64_t Finalise(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Element `i` of the uniform numbers whose seed was finalised to `start`.
float Uniform(uint64_t start, int64_t i) {
  // 23 bits and a half, which fp32 holds exactly: neither 0 nor 1 can come out.
  const uint64_t bits = Finalise(start + (static_cast<uint64_t>(i) + 1) * kGolden) >> 41;
  return (static_cast<float>(bits) + 0.5f) * 0x1p-23f;
}

}  // namespace

uint64_t MixSeed(std::initializer_list<uint64_t> parts) {
  uint64_t state = 0;
  for (const uint64_t part : parts) state = Finalise((state + kGolden) ^ Finalise(part + kGolden));
  return state;
}

at::Tensor SeededUniform(const std::vector<int64_t>& shape, uint64_t seed) {
  at::Tensor result = at::empty(shape, at::kFloat);
  float* values = result.data_ptr<float>();
  const uint64_t start = Finalise(seed);
  for (int64_t i = 0; i < result.numel(); ++i) values[i] = Uniform(start, i);
  return result;
}

at::Tensor SeededUniformAt(const at::Tensor& indices, uint64_t seed) {
  at::Tensor result = at::empty(indices.sizes(), at::kFloat);
  float* values = result.data_ptr<float>();
  const int64_t* index = indices.data_ptr<int64_t>();
  const uint64_t start = Finalise(seed);
  for (int64_t i = 0; i < result.numel(); ++i) values[i] = Uniform(start, index[i]);
  return result;
}

at::Tensor SeededGumbel(const std::vector<int64_t>& shape, uint64_t seed) {
  return SeededUniform(shape, seed).log_().neg_().log_().neg_();
}

at::Tensor SeededNormal(const std::vector<int64_t>& shape, uint64_t seed) {
  constexpr double kTwoPi = 6.28318530717958647692;
  const at::Tensor radius = SeededUniform(shape, MixSeed({seed, 1})).log_().mul_(-2).sqrt_();
  return radius.mul_(SeededUniform(shape, MixSeed({seed, 2})).mul_(kTwoPi).cos_());
}

std::vector<int64_t> SeededSubset(int64_t range, int64_t count, uint64_t seed) {
  std::vector<int64_t> numbers(range);
  std::iota(numbers.begin(), numbers.end(), 0);
  if (count >= range) return numbers;
  const uint64_t start = Finalise(seed);
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bits = Finalise(start + (static_cast<uint64_t>(i) + 1) * kGolden);
    std::swap(numbers[i], numbers[i + static_cast<int64_t>(bits % (range - i))]);
  }
  numbers.resize(count);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace kvp

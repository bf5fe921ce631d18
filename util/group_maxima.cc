#include "util/group_maxima.h"

#include <algorithm>

#include "util/vector_clones.h"

namespace kvp {
namespace {

// Entries whose sums and maxima stay in the first-level cache while the rows go by.
constexpr int64_t kTile = 1024;

KVP_VECTOR_CLONES
void Add(const float* __restrict weights, int64_t n, float* __restrict sums) {
  for (int64_t i = 0; i < n; ++i) sums[i] += weights[i];
}

KVP_VECTOR_CLONES
void Maximum(const float* __restrict a, const float* __restrict b, int64_t n,
             float* __restrict largest) {
  for (int64_t i = 0; i < n; ++i) largest[i] = a[i] > b[i] ? a[i] : b[i];
}

KVP_VECTOR_CLONES
void AddMaximum(const float* __restrict a, const float* __restrict b, int64_t n,
                float* __restrict sums) {
  for (int64_t i = 0; i < n; ++i) sums[i] += a[i] > b[i] ? a[i] : b[i];
}

KVP_VECTOR_CLONES
void Raise(const float* __restrict weights, int64_t n, float* __restrict largest) {
  for (int64_t i = 0; i < n; ++i) largest[i] = weights[i] > largest[i] ? weights[i] : largest[i];
}

void AddRow(const float* weights, int64_t group, int64_t head_stride, int64_t n, float* sums) {
  if (group == 1) return Add(weights, n, sums);
  if (group == 2) return AddMaximum(weights, weights + head_stride, n, sums);
  float largest[kTile];
  Maximum(weights, weights + head_stride, n, largest);
  for (int64_t g = 2; g + 1 < group; ++g) Raise(weights + g * head_stride, n, largest);
  AddMaximum(largest, weights + (group - 1) * head_stride, n, sums);
}

}  // namespace

void AddGroupMaxima(const float* weights, int64_t group, int64_t head_stride, int64_t rows,
                    int64_t row_stride, int64_t entries, float* sums) {
  for (int64_t first = 0; first < entries; first += kTile) {
    const int64_t n = std::min(kTile, entries - first);
    for (int64_t row = 0; row < rows; ++row) {
      AddRow(weights + row * row_stride + first, group, head_stride, n, sums + first);
    }
  }
}

}  // namespace kvp

// The inner loop of future importance on the CPU.

#ifndef KVP_UTIL_GROUP_MAXIMA_H_
#define KVP_UTIL_GROUP_MAXIMA_H_

#include <cstdint>

namespace kvp {

// sums[i] += sum over rows of the largest of a group's weights: weights[g * head_stride + row *
// row_stride + i] for g in [0, group), row in [0, rows), i in [0, entries). One pass over the
// weights.
void AddGroupMaxima(const float* weights, int64_t group, int64_t head_stride, int64_t rows,
                    int64_t row_stride, int64_t entries, float* sums);

}  // namespace kvp

#endif  // KVP_UTIL_GROUP_MAXIMA_H_

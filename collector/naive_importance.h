// The labels' definition, for tests: in double, with the whole T x T softmax.

#ifndef KVP_COLLECTOR_NAIVE_IMPORTANCE_H_
#define KVP_COLLECTOR_NAIVE_IMPORTANCE_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"

namespace kvp {

// Of one KV head: queries [group, tokens, head_dim], keys [tokens, head_dim]. Returns double
// [cuts, last cut].
at::Tensor NaiveImportance(const at::Tensor& queries, const at::Tensor& keys,
                           const std::vector<int64_t>& cuts);

// The largest difference between `labels` and `reference`, relative to the reference; differences
// below `absolute` don't count.
double LargestRelativeError(const at::Tensor& labels, const at::Tensor& reference, double absolute);

}  // namespace kvp

#endif  // KVP_COLLECTOR_NAIVE_IMPORTANCE_H_

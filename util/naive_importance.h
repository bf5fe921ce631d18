// Future importance by its definition, for tests: in double, with the whole T x T softmax.

#ifndef KVP_UTIL_NAIVE_IMPORTANCE_H_
#define KVP_UTIL_NAIVE_IMPORTANCE_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"

namespace kvp {

// Of one KV head: queries [group, tokens, head_dim], keys [tokens, head_dim]; window 0: none.
// Returns double [cuts, last cut].
at::Tensor NaiveImportance(const at::Tensor& queries, const at::Tensor& keys, double scale,
                           int64_t window, const std::vector<int64_t>& cuts);

// The softmax of one query head, double [tokens, tokens].
at::Tensor NaiveAttention(const at::Tensor& queries, const at::Tensor& keys, double scale,
                          int64_t window);

// The largest difference between `labels` and `reference`, relative to the reference; differences
// below `absolute` don't count.
double LargestRelativeError(const at::Tensor& labels, const at::Tensor& reference, double absolute);

}  // namespace kvp

#endif  // KVP_UTIL_NAIVE_IMPORTANCE_H_

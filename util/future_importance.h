// Future importance: what each entry of a KV cache turned out to be worth to the queries after a
// cut.
//
// For one KV head with a group of query heads h, and a cut c,
//
//   I_i(c) = sum over query positions j >= c of  max over h of A_h(j, i)      for entries i < c,
//
// where A_h(j, .) = softmax(q_h(j) . k / sqrt(head_dim)) over all keys at positions <= j
// (Moschella, Manduchi, Sener, "Learning to Evict from Key-Value Cache", arXiv 2602.10238, section
// 3). It is a sum over queries, so the importance of a sequence is the sum of its chunks'.

#ifndef KVP_UTIL_FUTURE_IMPORTANCE_H_
#define KVP_UTIL_FUTURE_IMPORTANCE_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

namespace kvp {

// Bounds the attention that is alive at once: queries are taken in blocks of as many as fit.
constexpr int64_t kFutureImportanceBlockBytes = int64_t{16} << 20;

// Adds to `importance` what one KV head's chunk of queries contributes.
//
// importance: fp32 [cuts, entries] on the keys' device, zeros before a sequence's first chunk.
//   Row r holds the importance at cuts[r]; entries at or after the cut stay untouched there.
// queries: [group, tokens, head_dim], post-RoPE, any floating dtype: the group's query heads, for
//   positions first_position, first_position + 1, …. Queries before the first cut cost nothing.
// keys: [length, head_dim], post-RoPE: those at positions 0 .. length - 1, none removed; length is
//   at least first_position + tokens, and later keys aren't seen.
// cuts: ascending, each in [1, entries].
//
// Scores, softmax and sums are fp32. At most `block_bytes` of attention (but at least one query) is
// alive at once.
//
// INVALID_ARGUMENT, naming the argument and its value, for shapes or cuts that don't agree;
// INTERNAL or RESOURCE_EXHAUSTED where torch fails. Thread-safe for different `importance`.
absl::Status AddFutureImportance(const at::Tensor& queries, const at::Tensor& keys,
                                 int64_t first_position, absl::Span<const int64_t> cuts,
                                 at::Tensor& importance,
                                 int64_t block_bytes = kFutureImportanceBlockBytes);

}  // namespace kvp

#endif  // KVP_UTIL_FUTURE_IMPORTANCE_H_

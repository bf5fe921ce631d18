// The fused attention kernels of LibTorch 2.x, for those cases in which they compute what Attend
// does.

#ifndef KVP_LLM_FUSED_ATTENTION_H_
#define KVP_LLM_FUSED_ATTENTION_H_

#include <cstdint>

#include "ATen/core/Tensor.h"

namespace kvp {

struct FusedAttention {
  at::Tensor output;       // [query_heads, tokens, head_dim]
  at::Tensor log_sum_exp;  // fp32 [query_heads, tokens]: of the scaled scores that each query sees
};

// Whether AttendFused can run: on a CUDA device of compute capability 8.0 at least, in float16 or
// bfloat16, with a head_dim that the kernels know; windows from LibTorch 2.5 on. False for all of
// LibTorch 1.13.
bool CanAttendFused(const at::Tensor& queries, int64_t window);

// Causal attention of queries [query_heads, tokens, head_dim] over keys and values [kv_heads,
// entries, head_dim], views with a contiguous last dimension; the last `tokens` entries are the
// queries' own, query head h belongs to KV head h / (query_heads / kv_heads). `window` as in
// AttentionChunk, where entries' indices are their positions. Neither scores nor repeated K and V
// are held in memory. Throws c10::Error where torch fails. FlashAttention-2 (Dao, 2023), whose
// causal mask is aligned to the last query and the last entry.
FusedAttention AttendFused(const at::Tensor& queries, const at::Tensor& keys,
                           const at::Tensor& values, double scale, int64_t window);

}  // namespace kvp

#endif  // KVP_LLM_FUSED_ATTENTION_H_

// Grouped-query attention of a chunk of tokens over a KvCache.

#ifndef KVP_LLM_ATTENTION_H_
#define KVP_LLM_ATTENTION_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "llm/kv_cache.h"

namespace kvp {

// softmax(Q K^T / sqrt(head_dim)) V, the softmax in fp32. `queries` [query_heads, tokens, head_dim]
// (contiguous, post-RoPE) belong to the last `tokens` entries of every head of the layer: each sees
// all entries before those, and of those the ones up to its own. Query head h reads KV head h /
// (query_heads / kv_heads). Returns [tokens, query_heads * head_dim].
at::Tensor Attend(const at::Tensor& queries, const KvCache& cache, int64_t layer);

}  // namespace kvp

#endif  // KVP_LLM_ATTENTION_H_

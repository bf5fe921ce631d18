// AttentionObserver: watches attention while a decoder runs.

#ifndef KVP_LLM_ATTENTION_OBSERVER_H_
#define KVP_LLM_ATTENTION_OBSERVER_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "llm/kv_cache.h"

namespace kvp {

// Attention of some consecutive tokens of one sequence, in one layer.
struct AttentionChunk {
  int64_t layer = 0;
  // [query_heads, tokens, head_dim], post-RoPE; query head h belongs to KV head h / query_group.
  at::Tensor queries;
  // Sequence position of the first of the tokens.
  int64_t first_position = 0;
  // Holds the chunk's K and V of this layer already, and maybe later ones.
  const KvCache* cache = nullptr;
  // Factor of q . k before the softmax.
  double scale = 0;
  // The layer's sliding window: a query at position p sees the entries at positions above p -
  // window. 0: all.
  int64_t window = 0;
  // The softmax, where the computation built it as a whole: fp32 [query_heads, tokens, entries],
  // for the cache's entries first_entry, first_entry + 1, …; all others have weight 0. Undefined
  // where a fused kernel ran, or heads hold different numbers of entries.
  at::Tensor weights;
  int64_t first_entry = 0;
  // The logarithm of the softmax's denominator, fp32 [query_heads, tokens]: exp(scale * q . k -
  // log_sum_exp) is a weight. Undefined where it isn't known.
  at::Tensor log_sum_exp;
};

// Sees attention as it happens. Called on the decoder's thread, layer by layer, for a sequence's
// tokens in their order, once for each piece in which they are computed.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;

  // Tensors may not be kept without a copy, nor changed.
  virtual absl::Status OnAttention(const AttentionChunk& chunk) = 0;
};

}  // namespace kvp

#endif  // KVP_LLM_ATTENTION_OBSERVER_H_

// Grouped-query attention over a KvCache, without a [query_heads, tokens, tokens] matrix and
// without repeating K or V for the query heads of a group.

#ifndef KVP_LLM_ATTENTION_H_
#define KVP_LLM_ATTENTION_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "llm/attention_observer.h"

namespace kvp {

// Scores that are alive at once, in bytes: queries are taken in blocks of as many as fit. On the
// CPU a block should stay near the caches.
constexpr int64_t kCpuScoreBytes = int64_t{16} << 20;
constexpr int64_t kGpuScoreBytes = int64_t{512} << 20;

// Writes the attention of chunk.queries, those of the last entries that chunk.cache holds in
// chunk.layer, to `output` [tokens, query_heads * head_dim], and shows each block to `observer`
// (may be null), with weights or log_sum_exp where they are known. Heads may hold different
// entries: what was removed is not seen. `score_bytes` 0: the device's default. Returns the
// observer's error.
absl::Status Attend(const AttentionChunk& chunk, AttentionObserver* observer, at::Tensor output,
                    int64_t score_bytes = 0);

}  // namespace kvp

#endif  // KVP_LLM_ATTENTION_H_

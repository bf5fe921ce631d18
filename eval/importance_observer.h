// ImportanceObserver: what each cache entry of a context turns out to be worth to the tokens that
// follow it.

#ifndef KVP_EVAL_IMPORTANCE_OBSERVER_H_
#define KVP_EVAL_IMPORTANCE_OBSERVER_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "llm/decoder.h"
#include "llm/kv_cache.h"

namespace kvp {

// Watches a forward pass over a continuation, the whole cache being there, and adds up future
// importance (util/future_importance.h) for the cut at the context's end. One observer a sequence;
// not thread-safe.
class ImportanceObserver : public AttentionObserver {
 public:
  explicit ImportanceObserver(int64_t context_tokens) : context_tokens_(context_tokens) {}

  absl::Status OnAttention(const AttentionChunk& chunk) override;

  // fp32 [layers * kv_heads, context_tokens], layer-major; undefined before any pass was seen.
  at::Tensor importance() const;

 private:
  const int64_t context_tokens_;
  std::vector<at::Tensor> importance_;  // [1, context_tokens] by head
};

}  // namespace kvp

#endif  // KVP_EVAL_IMPORTANCE_OBSERVER_H_

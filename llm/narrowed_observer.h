// NarrowedObserver: for tests of observers that must do with less than the softmax's weights.

#ifndef KVP_LLM_NARROWED_OBSERVER_H_
#define KVP_LLM_NARROWED_OBSERVER_H_

#include <cstdint>

#include "ATen/ATen.h"
#include "absl/status/status.h"
#include "llm/attention_observer.h"

namespace kvp {

// What attention shows of itself.
enum class Shown { kWeights, kLogSumExp, kQueriesAlone };

// Shows another observer less than attention did.
class NarrowedObserver : public AttentionObserver {
 public:
  NarrowedObserver(AttentionObserver* observer, Shown shown)
      : observer_(*observer), shown_(shown) {}

  absl::Status OnAttention(const AttentionChunk& chunk) override {
    if (shown_ == Shown::kWeights) return observer_.OnAttention(chunk);
    AttentionChunk narrowed = chunk;
    narrowed.weights = at::Tensor();
    narrowed.first_entry = 0;
    if (shown_ == Shown::kLogSumExp) {
      // A query's own entry is the last one that it sees: its score less its weight's logarithm.
      const int64_t tokens = chunk.queries.size(1);
      const int64_t entries = chunk.weights.size(2);
      const at::Tensor own_keys =
          chunk.cache->layer_keys(chunk.layer)
              .narrow(1, chunk.first_position, tokens)
              .repeat_interleave(chunk.queries.size(0) / chunk.cache->kv_heads(), 0);
      const at::Tensor own_weights =
          chunk.weights.narrow(2, entries - tokens, tokens).diagonal(0, 1, 2);
      narrowed.log_sum_exp = (chunk.queries * own_keys).sum(2) * chunk.scale - own_weights.log();
    }
    return observer_.OnAttention(narrowed);
  }

 private:
  AttentionObserver& observer_;
  const Shown shown_;
};

}  // namespace kvp

#endif  // KVP_LLM_NARROWED_OBSERVER_H_

// QueryObserver: what a prefill's queries show, for the policies that look at them.

#ifndef KVP_EVAL_QUERY_OBSERVER_H_
#define KVP_EVAL_QUERY_OBSERVER_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "llm/attention_observer.h"
#include "llm/decoder.h"
#include "policy/policy_input.h"
#include "policy/query_statistics.h"

namespace kvp {

// OK where no entry of the chunk's layer was removed, so that an entry's index is its position;
// else INVALID_ARGUMENT naming the head, `what` in front.
absl::Status CheckNothingRemoved(absl::string_view what, const AttentionChunk& chunk);

// The chunk's attention; the cache's heads must lie together, as they do while nothing is removed.
LayerAttention LayerAttentionOf(const AttentionChunk& chunk);

// Watches one sequence from its first token on, through a cache from which nothing is removed. Its
// memory doesn't grow with the sequence, but for one number an entry and KV head where attention
// sums are wanted. Not thread-safe.
class QueryObserver : public AttentionObserver {
 public:
  QueryObserver(const Decoder& decoder, QueryStatistics::Wanted wanted);

  // INVALID_ARGUMENT where the cache has lost entries.
  absl::Status OnAttention(const AttentionChunk& chunk) override;

  // Of all heads, layer-major, on the first layer's device.
  ObservedQueries Observed() const;

 private:
  std::vector<QueryStatistics> layers_;
  std::vector<int64_t> windows_;  // by head
  double scale_ = 0;
};

}  // namespace kvp

#endif  // KVP_EVAL_QUERY_OBSERVER_H_

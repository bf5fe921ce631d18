// The attention of a sequence's last tokens, from their queries.

#ifndef KVP_POLICY_HEURISTICS_RECENT_ATTENTION_H_
#define KVP_POLICY_HEURISTICS_RECENT_ATTENTION_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// softmax(scale · q · k) of the last `queries` of the recent queries, over the entries that each of
// them sees: fp32 [group, queries, tokens], of the input's head with index `head`. The queries are
// those of the last entries; `queries` is at most input.queries.recent.size(2).
at::Tensor RecentAttention(const PolicyInput& input, int64_t head, int64_t queries);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_RECENT_ATTENTION_H_

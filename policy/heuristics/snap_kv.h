// Policies snap_kv and pyramid_kv: what the last tokens attend to.

#ifndef KVP_POLICY_HEURISTICS_SNAP_KV_H_
#define KVP_POLICY_HEURISTICS_SNAP_KV_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// Li et al., "SnapKV: LLM Knows What You Are Looking for Before Generation" (2024): the attention
// that the last 64 queries pay to the entries before theirs, averaged over the queries, smoothed
// over 5 neighbouring entries (zero beyond the ends) and averaged over the group. The 64 entries
// themselves are kept before all others, the more recent ones first. fp32 [heads, tokens]; needs
// recent queries.
//
// pyramid_kv has the same scores and other budgets: see policy/head_budgets.h.
at::Tensor SnapKvScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_SNAP_KV_H_

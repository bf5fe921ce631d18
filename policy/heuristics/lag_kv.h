// Policy lag_kv: entries that stand out against the block that follows theirs.

#ifndef KVP_POLICY_HEURISTICS_LAG_KV_H_
#define KVP_POLICY_HEURISTICS_LAG_KV_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// Liang et al., "LagKV: Lag-Relative Information of the KV Cache Tells Which Tokens Are Important"
// (2025). After 4 sinks the entries are taken in blocks of 128. A block's keys are normalised,
// channel by channel, by the least and the largest value of the *next* block's keys; the standard
// deviation over channels, put through a softmax over the block's entries, is a key's part, and
// values have one made in the same way. An entry's score is the rank within its block of the mean
// of both, divided by 128.
//
// Sinks and the entries that no whole block follows are kept before all others, of the latter the
// more recent before the less: scores of 1 and above. fp32 [heads, tokens].
at::Tensor LagKvScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_LAG_KV_H_

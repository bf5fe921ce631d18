// Policy cur: entries with a large share of their window's keys and values.

#ifndef KVP_POLICY_HEURISTICS_CUR_H_
#define KVP_POLICY_HEURISTICS_CUR_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// Sengupta et al., "Value-Guided KV Compression for LLMs via Approximated CUR Decomposition"
// (2025), with its local approximation of leverage: in windows of 16 entries, (‖k‖² / Σ ‖k‖²) ·
// (‖v‖² / Σ ‖v‖²), sums over the window; the first 4 entries score 1, above which no score lies.
// fp32 [heads, tokens].
at::Tensor CurScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_CUR_H_

// Policy leverage: keys that the others don't make up.

#ifndef KVP_POLICY_HEURISTICS_LEVERAGE_H_
#define KVP_POLICY_HEURISTICS_LEVERAGE_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// Approximate leverage scores of the keys, as in Chari and Van Durme, "Compactor: Calibrated
// Query-Agnostic KV Cache Compression with Approximate Leverage Scores" (2025). Keys as they were
// before their rotation, less their mean over the entries, times a Gaussian [head_dim, 48] / √48,
// are X; the scores are diag(X (XᵀX + 0.01 I)⁻¹ Xᵀ), less their mean and divided by their standard
// deviation. The Gaussian depends on the sequence's seed and the head. fp32 [heads, tokens].
at::Tensor LeverageScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_LEVERAGE_H_

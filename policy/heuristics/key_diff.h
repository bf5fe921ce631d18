// Policy key_diff: keys unlike the others are kept.

#ifndef KVP_POLICY_HEURISTICS_KEY_DIFF_H_
#define KVP_POLICY_HEURISTICS_KEY_DIFF_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// −cos(k_i, mean_j k_j/‖k_j‖): Park et al., "KeyDiff: Key Similarity-Based KV Cache Eviction for
// Long-Context LLM Inference" (2025). fp32 [heads, tokens].
at::Tensor KeyDiffScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_KEY_DIFF_H_

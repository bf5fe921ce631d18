// Policy k_norm: small keys are kept.

#ifndef KVP_POLICY_HEURISTICS_K_NORM_H_
#define KVP_POLICY_HEURISTICS_K_NORM_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// −‖k_i‖: Devoto et al., "A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression"
// (2024). fp32 [heads, tokens].
at::Tensor KNormScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_K_NORM_H_

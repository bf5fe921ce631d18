// Policy expected_attention: what queries like those so far would attend to.

#ifndef KVP_POLICY_HEURISTICS_EXPECTED_ATTENTION_H_
#define KVP_POLICY_HEURISTICS_EXPECTED_ATTENTION_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// Devoto, Jeblick and Jégou, "Expected Attention: KV Cache Compression by Estimating Attention from
// Future Queries Distribution" (2025). Queries before rotation are taken as Gaussian with mean μ
// and covariance Σ; R is the mean of the rotations at the next 512 positions. With the attention's
// factor s (1/√head_dim), the scores are
//
//   mean over the group of softmax(s (Rμ)·k + s²/2 kᵀ(RΣRᵀ)k), times ‖v‖,
//
// over the entries behind the first 4, which are kept before all others. fp32 [heads, tokens];
// needs the queries' means and covariances.
at::Tensor ExpectedAttentionScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_EXPECTED_ATTENTION_H_

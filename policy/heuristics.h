// The policies that need no training. Formulas as their papers and public reference implementations
// give them.
//
// Each function takes validated input (heads of [heads, tokens, head_dim]) and returns fp32 scores
// [heads, tokens], larger for what is kept longer.

#ifndef KVP_POLICY_HEURISTICS_H_
#define KVP_POLICY_HEURISTICS_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "util/head_split.h"

namespace kvp {

// U(0, 1), seeded by the sequence and the head: the floor that every policy must beat.
at::Tensor RandomScores(const std::vector<HeadId>& heads, int64_t tokens, uint64_t sequence_seed);

// The first 4 positions, then the most recent ones: Xiao et al., "Efficient Streaming Language
// Models with Attention Sinks" (2023). positions int64 [tokens], ascending; the scores are the same
// for all `heads` heads.
at::Tensor StreamingLlmScores(const at::Tensor& positions, int64_t heads);

// −‖k_i‖: Devoto et al., "A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression"
// (2024).
at::Tensor KNormScores(const at::Tensor& keys);

// −cos(k_i, mean_j k_j/‖k_j‖), keys unlike the others being kept: Park et al., "KeyDiff: Key
// Similarity-Based KV Cache Eviction for Long-Context LLM Inference" (2025).
at::Tensor KeyDiffScores(const at::Tensor& keys);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_H_

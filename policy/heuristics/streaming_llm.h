// Policy streaming_llm: attention sinks and the most recent entries.

#ifndef KVP_POLICY_HEURISTICS_STREAMING_LLM_H_
#define KVP_POLICY_HEURISTICS_STREAMING_LLM_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// The first 4 positions, then the most recent ones: Xiao et al., "Efficient Streaming Language
// Models with Attention Sinks" (2023). A score is a function of the position alone, in fp64, which
// tells any two positions apart: [heads, tokens].
at::Tensor StreamingLlmScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_STREAMING_LLM_H_

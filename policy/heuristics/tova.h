// Policy tova: what the last token attends to.

#ifndef KVP_POLICY_HEURISTICS_TOVA_H_
#define KVP_POLICY_HEURISTICS_TOVA_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// Oren et al., "Transformers are Multi-State RNNs" (2024): the last query's attention, averaged
// over all heads of the layer, so that a layer's heads keep the same entries; the last entry is
// kept before all others. fp32 [heads, tokens]. Needs recent queries, and all KV heads of a layer
// in one input: the mean is over those that are there.
at::Tensor TovaScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_TOVA_H_

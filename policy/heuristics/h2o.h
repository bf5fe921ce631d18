// Policy h2o: heavy hitters and recent entries.

#ifndef KVP_POLICY_HEURISTICS_H2O_H_
#define KVP_POLICY_HEURISTICS_H2O_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// Zhang et al., "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language
// Models" (2023): half of a budget goes to the entries that got most attention from all queries so
// far, summed and averaged over the group, half to the most recent ones. Written as one ranking for
// all budgets: heaviest and most recent entries take turns. fp32 [heads, tokens]; needs attention
// sums.
at::Tensor H2oScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_H2O_H_

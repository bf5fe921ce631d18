// Policy random: the floor that every policy must beat.

#ifndef KVP_POLICY_HEURISTICS_RANDOM_SCORES_H_
#define KVP_POLICY_HEURISTICS_RANDOM_SCORES_H_

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"

namespace kvp {

// U(0, 1), a function of the sequence's seed, the head and the entry's position alone: fp32 [heads,
// tokens].
at::Tensor RandomScores(const PolicyInput& input);

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_RANDOM_SCORES_H_

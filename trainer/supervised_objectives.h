// Objectives without rankings, which take importance as a target: for comparison.
//
//   regression   (1/n)·Σ_i (s_i − t_i)², t_i = log(I_i/mean(I) + 1e-3): scores predict log
//   importance.
//                The mean is the sample's. Heads without importance have loss 0.
//   listwise     Σ_i p_i·(log p_i − log softmax(s)_i), p = I/Σ I: the cross entropy of ListNet's
//                top-one probabilities (Cao et al., "Learning to Rank: From Pairwise Approach to
//                Listwise Approach", 2007) with importance as the target distribution, less p's
//                entropy, so that 0 is the best. Heads without importance have loss 0.

#ifndef KVP_TRAINER_SUPERVISED_OBJECTIVES_H_
#define KVP_TRAINER_SUPERVISED_OBJECTIVES_H_

#include <memory>

#include "trainer/objective.h"

namespace kvp {

std::unique_ptr<Objective> NewRegressionObjective();
std::unique_ptr<Objective> NewListwiseObjective();

}  // namespace kvp

#endif  // KVP_TRAINER_SUPERVISED_OBJECTIVES_H_

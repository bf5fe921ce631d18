// Objectives that sample rankings from Plackett–Luce, and estimate the gradient of their expected
// cost by REINFORCE (Williams, 1992): a ranking's cost, less a baseline, times d log P(ranking)/ds.
//
//   rloo    K rankings of one context; the baseline of each is the mean cost of the K − 1 others
//   (Kool,
//           van Hoof and Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019). The
//           text of Moschella et al., "Learning to Evict from Key-Value Cache" (2026), has this.
//           Its cost is R(σ)/R(σ*); with budget weights w it is Σ_i I_i·c_{rank_i} / (c_n·Σ_i I_i),
//           c_r = Σ_{b<r} w_b: the weighted mean share of the importance that is evicted. So any
//           weights can be trained for, not only those whose expectation has a closed form.
//   paper   As the code released with that paper: one ranking of each context; the baseline of a
//           context is the mean cost R(σ)/R(σ*) of the batch's others; what remains is divided by
//           its standard deviation over the batch and clamped to ±2. Heads are normalised apart,
//           and contexts in which a head has no importance are left out for it. A batch is what one
//           process sees, as there.

#ifndef KVP_TRAINER_SAMPLED_OBJECTIVES_H_
#define KVP_TRAINER_SAMPLED_OBJECTIVES_H_

#include <cstdint>
#include <memory>

#include "trainer/budget_weights.h"
#include "trainer/objective.h"

namespace kvp {

// `uniform`: the cost is R(σ)/R(σ*), whatever the weights.
std::unique_ptr<Objective> NewRlooObjective(int64_t permutations, bool uniform,
                                            BudgetWeights weights);

std::unique_ptr<Objective> NewPaperObjective();

}  // namespace kvp

#endif  // KVP_TRAINER_SAMPLED_OBJECTIVES_H_

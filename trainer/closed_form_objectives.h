// Objectives whose expectation over all Plackett–Luce rankings, or a bound on it, has a closed
// form: nothing is sampled, so the gradient has no variance beyond the choice of contexts.
//
//   exact      E[R(σ)]/R(σ*) = Σ_i I_i·E[rank_i] / −R(σ*), E[rank_i] = 1 + Σ_{j≠i} sigmoid(s_j −
//   s_i).
//              Under Plackett–Luce, which is Gumbel noise and a sort, P(j before i) = sigmoid(s_j −
//              s_i) exactly (Yellott, "The relationship between Luce's choice axiom, Thurstone's
//              theory of comparative judgment, and the double exponential distribution", 1977), and
//              the reward of Moschella et al. ("Learning to Evict from Key-Value Cache", 2026) is
//              linear in ranks. The gradient is the policy gradient itself.
//   log_rank   Σ_i I_i·log E[rank_i] / Σ_i I_i. Weighting budget b by 1/(b + 1) turns a rank into
//   the
//              harmonic number of it, about its logarithm: every halving of the cache counts the
//              same. By Jensen's inequality an upper bound on the mean log rank.
//
// With `pairs`, each entry is compared with that many others, a sample that is drawn anew in each
// step: O(n·pairs) in the place of O(n²). exact's loss and gradient keep their expectations;
// log_rank's, where the sample stands under a logarithm, are off by O(1/pairs).

#ifndef KVP_TRAINER_CLOSED_FORM_OBJECTIVES_H_
#define KVP_TRAINER_CLOSED_FORM_OBJECTIVES_H_

#include <cstdint>
#include <memory>

#include "trainer/objective.h"

namespace kvp {

// pairs: 0 for all.
std::unique_ptr<Objective> NewExactObjective(int64_t pairs);

// exact_weight · exact + log_rank_weight · log_rank.
std::unique_ptr<Objective> NewLogRankObjective(double exact_weight, double log_rank_weight,
                                               int64_t pairs);

}  // namespace kvp

#endif  // KVP_TRAINER_CLOSED_FORM_OBJECTIVES_H_

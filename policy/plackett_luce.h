// The Plackett–Luce distribution over rankings of a context's entries, and what a ranking is worth.
//
// Formulas: Moschella et al., "Learning to Evict from Key-Value Cache" (2026), and the closed forms
// derived from them. A ranking is int64 [..., n]: ranking[r] is the entry of rank r + 1, ranks
// counting from 1. Scores and importance are fp32 [..., n], on one device. Stateless, thread-safe.
// Shapes are the caller's to check.

#ifndef KVP_POLICY_PLACKETT_LUCE_H_
#define KVP_POLICY_PLACKETT_LUCE_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"

namespace kvp {

// Rankings drawn from Plackett–Luce: scores plus standard Gumbel noise of the same (or a broadcast)
// shape, sorted.
at::Tensor SampleRankings(const at::Tensor& scores, const at::Tensor& gumbel);

// log P(ranking) [...] = Σ_r (s_{σ_r} − log Σ_{r' ≥ r} exp s_{σ_{r'}}); scores and rankings
// broadcast.
at::Tensor LogProbability(const at::Tensor& scores, const at::Tensor& rankings);

// d log P(ranking) / d scores, in closed form: fp32 [..., n].
at::Tensor LogProbabilityGradient(const at::Tensor& scores, const at::Tensor& rankings);

// R(σ) = −Σ_r r·I_{σ_r}, ranks from 1: the negated importance evicted, summed over all budgets.
// With `rank_costs` fp64 [n], c_r in the place of r: budget b counts c_{b+1} − c_b. fp64 [...].
at::Tensor RankingReward(const at::Tensor& rankings, const at::Tensor& importance,
                         const at::Tensor& rank_costs = {});

// R(σ*), of the ranking by descending importance: no ranking's reward is larger. fp64 [...].
at::Tensor OracleReward(const at::Tensor& importance);

// cost(σ) = R(σ)/R(σ*): 1 is the oracle, larger is worse; 1 where all importance is zero. fp64
// [...].
at::Tensor RankingCost(const at::Tensor& rankings, const at::Tensor& importance);

// The share of all importance in the first `budgets[b]` entries of the ranking: fp64 [...,
// budgets]; 1 where all importance is zero.
at::Tensor RetainedMass(const at::Tensor& rankings, const at::Tensor& importance,
                        const std::vector<int64_t>& budgets);

// The expectations over all rankings that have closed forms, since P(j before i) = sigmoid(s_j −
// s_i) under Plackett–Luce. One pass over all pairs that keeps O(n) numbers a context: nothing of
// size n × n is ever held. Scores further than 80 from the middle of their range count as if they
// were 80 away.
//
// `columns` int64 [..., m], where given: each entry is compared with these m entries alone (its
// others of them), a uniform sample without repetition, ascending. O(n·m); every element of a
// result that is linear in the pairs, as these are, keeps its expectation.
//
// E[rank_i] = 1 + Σ_{j≠i} sigmoid(s_j − s_i): fp32 [..., n].
at::Tensor ExpectedRanks(const at::Tensor& scores, const at::Tensor& columns = {});
// d (Σ_i w_i·E[rank_i]) / d s_k = Σ_i (w_i − w_k)·sigmoid'(s_k − s_i): fp32 [..., n].
at::Tensor ExpectedRankGradient(const at::Tensor& scores, const at::Tensor& weights,
                                const at::Tensor& columns = {});
// Both in one pass.
struct RankExpectations {
  at::Tensor ranks;
  at::Tensor gradient;
};
RankExpectations ExpectRanks(const at::Tensor& scores, const at::Tensor& weights,
                             const at::Tensor& columns = {});
// The same by torch, a block of pairs at a time: what other devices than the CPU do.
RankExpectations ExpectRanksBlockwise(const at::Tensor& scores, const at::Tensor& weights,
                                      const at::Tensor& columns = {});

// J(s) = E[R(σ)] = −Σ_i I_i·E[rank_i] (fp64 [...]) and its gradient dJ/ds (fp32 [..., n]): the
// policy gradient with zero variance.
struct ExpectedReward {
  at::Tensor reward;
  at::Tensor gradient;
};
ExpectedReward ExactExpectedReward(const at::Tensor& scores, const at::Tensor& importance);

}  // namespace kvp

#endif  // KVP_POLICY_PLACKETT_LUCE_H_

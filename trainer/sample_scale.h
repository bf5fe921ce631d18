// What objectives share: estimates of a context's cost from a sample of its entries.

#ifndef KVP_TRAINER_SAMPLE_SCALE_H_
#define KVP_TRAINER_SAMPLE_SCALE_H_

#include "ATen/core/Tensor.h"
#include "trainer/objective.h"

namespace kvp {

// 1/x, and 0 where x is 0.
at::Tensor InverseOrZero(const at::Tensor& x);

// With m of n entries drawn, a sum over pairs of them is on average this much short of the sum over
// all pairs: n(n − 1)/(m(m − 1)).
double PairScale(const ObjectiveInput& input);
// And a sum over one entry's others: (n − 1)/(m − 1).
double OthersScale(const ObjectiveInput& input);

// R(σ)/R(σ*), or its expectation, where `pair_cost` fp64 [heads] is Σ_i I_i·(rank_i − 1) over the
// sample: fp64 [heads], without bias; 1 for heads without importance.
at::Tensor CostOfSample(const ObjectiveInput& input, const at::Tensor& pair_cost);
// d cost / d pair_cost: fp32 [heads, 1].
at::Tensor CostSlope(const ObjectiveInput& input);

}  // namespace kvp

#endif  // KVP_TRAINER_SAMPLE_SCALE_H_

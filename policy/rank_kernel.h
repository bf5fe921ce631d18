// The inner loop of the exact objective, free of torch.

#ifndef KVP_POLICY_RANK_KERNEL_H_
#define KVP_POLICY_RANK_KERNEL_H_

#include <cstdint>

namespace kvp {

// ranks[i] = 1 + Σ_{j≠i} sigmoid(s_j − s_i) and gradient[k] = Σ_i (w_i − w_k)·sigmoid'(s_k − s_i)
// of each of `rows` rows of n scores and weights. On the calling thread.
void ExpectRanksOfRows(const float* scores, const float* weights, int64_t rows, int64_t n,
                       float* ranks, float* gradient);

}  // namespace kvp

#endif  // KVP_POLICY_RANK_KERNEL_H_

// The inner loop of the exact objective, free of torch.

#ifndef KVP_POLICY_RANK_KERNEL_H_
#define KVP_POLICY_RANK_KERNEL_H_

#include <cstdint>

namespace kvp {

// One context's entries, and those that each of them is compared with.
struct RankProblem {
  const float* scores = nullptr;   // [n]
  const float* weights = nullptr;  // [n]; null where no gradient is wanted
  int64_t n = 0;
  // Indices of `compared` different entries, ascending: a uniform sample, from which sums over all
  // are estimated without bias. Null: all.
  const int64_t* columns = nullptr;
  int64_t compared = 0;
};

// ranks[i] = 1 + Σ_{j≠i} sigmoid(s_j − s_i) and gradient[k] = Σ_i (w_i − w_k)·sigmoid'(s_k − s_i).
// Either result may be null, and costs nothing then. On the calling thread.
void ExpectRanksOfContext(const RankProblem& problem, float* ranks, float* gradient);

}  // namespace kvp

#endif  // KVP_POLICY_RANK_KERNEL_H_

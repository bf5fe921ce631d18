// Policy q_filter: keys along the direction that a head's queries have in common.

#ifndef KVP_POLICY_HEURISTICS_Q_FILTER_H_
#define KVP_POLICY_HEURISTICS_Q_FILTER_H_

#include <cstdint>

#include "ATen/core/Tensor.h"

namespace kvp {

// Godey et al., "Q-Filters: Leveraging QK Geometry for Efficient KV Cache Compression" (2025).

// k · f for keys fp32 [heads, tokens, head_dim] and filters fp32 [heads, head_dim]: fp32 [heads,
// tokens]. (The released code stores −f and scores −k · f.)
at::Tensor QFilterScores(const at::Tensor& keys, const at::Tensor& filters);

// A KV head's filter from queries of its group: the main right singular vector of the matrix whose
// rows they are, with the sign that makes their mean projection on it positive. Not thread-safe.
class QFilterEstimator {
 public:
  explicit QFilterEstimator(int64_t head_dim);

  // [queries, head_dim], post-RoPE, of any floating dtype, on the CPU.
  void Add(const at::Tensor& queries);
  int64_t queries() const { return queries_; }
  // fp32 [head_dim], of length 1.
  at::Tensor Filter() const;

 private:
  at::Tensor gram_;  // fp64 [head_dim, head_dim]: Σ q qᵀ
  at::Tensor sum_;   // fp64 [head_dim]
  int64_t queries_ = 0;
};

}  // namespace kvp

#endif  // KVP_POLICY_HEURISTICS_Q_FILTER_H_

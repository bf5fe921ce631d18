#include "policy/heuristics/q_filter.h"

#include <tuple>

#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/zeros.h"

namespace kvp {

at::Tensor QFilterScores(const at::Tensor& keys, const at::Tensor& filters) {
  return keys.matmul(filters.unsqueeze(2)).squeeze(2);
}

QFilterEstimator::QFilterEstimator(int64_t head_dim)
    : gram_(at::zeros({head_dim, head_dim}, at::kDouble)),
      sum_(at::zeros({head_dim}, at::kDouble)) {}

void QFilterEstimator::Add(const at::Tensor& queries) {
  const at::Tensor wide = queries.to(at::kDouble);
  gram_.add_(wide.t().matmul(wide));
  sum_.add_(wide.sum(0));
  queries_ += queries.size(0);
}

at::Tensor QFilterEstimator::Filter() const {
  // Eigenvectors of QᵀQ are Q's right singular vectors; eigenvalues come in ascending order.
  const at::Tensor vectors = std::get<1>(at::linalg_eigh(gram_));
  const at::Tensor main = vectors.select(1, vectors.size(1) - 1);
  const double projection = main.dot(sum_).item<double>();
  return (projection < 0 ? main.neg() : main).to(at::kFloat).contiguous();
}

}  // namespace kvp

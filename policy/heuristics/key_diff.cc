#include "policy/heuristics/key_diff.h"

#include "ATen/TensorOperators.h"

namespace kvp {
namespace {

// Keeps the direction of a zero key defined, as torch's cosine_similarity does.
constexpr double kSmallestNorm = 1e-8;

at::Tensor Directions(const at::Tensor& vectors) {
  return vectors / vectors.norm(2, {-1}, /*keepdim=*/true).clamp_min(kSmallestNorm);
}

}  // namespace

at::Tensor KeyDiffScores(const PolicyInput& input) {
  const at::Tensor directions = Directions(input.keys);
  const at::Tensor anchor = Directions(directions.mean(1, /*keepdim=*/true));
  return (directions * anchor).sum(-1).neg();
}

}  // namespace kvp

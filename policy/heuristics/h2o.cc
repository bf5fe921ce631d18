#include "policy/heuristics/h2o.h"

#include "ATen/ops/arange.h"
#include "ATen/ops/minimum.h"

namespace kvp {

at::Tensor H2oScores(const PolicyInput& input) {
  const at::Tensor& sums = input.queries.attention_sums;
  const at::Tensor heaviness =
      sums.argsort(-1, /*descending=*/true).argsort(-1, /*descending=*/false);
  const at::Tensor age = at::arange(sums.size(1) - 1, -1, -1, heaviness.options());
  // No number occurs twice: of the turns that an entry could be taken in, the first is its own.
  const at::Tensor turn = at::minimum(heaviness.mul(2).add(1), age.mul(2).unsqueeze(0));
  return turn.neg().to(at::kFloat);
}

}  // namespace kvp

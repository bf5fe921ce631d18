#include "policy/heuristics/expected_attention.h"

#include <algorithm>
#include <limits>

#include "ATen/ops/arange.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/full.h"
#include "ATen/ops/tensor.h"

namespace kvp {
namespace {

constexpr int64_t kFuturePositions = 512;
constexpr int64_t kSinks = 4;

// [head_dim, head_dim]: the mean of the rotations at positions first, first + 1, ….
at::Tensor MeanRotation(int64_t head_dim, const std::vector<double>& frequencies, int64_t first) {
  const at::Tensor rotation = at::eye(head_dim, at::kDouble);
  if (frequencies.empty()) return rotation;
  const int64_t pairs = static_cast<int64_t>(frequencies.size());
  const at::Tensor angles = at::arange(first, first + kFuturePositions, at::kDouble)
                                .outer(at::tensor(frequencies, at::kDouble));
  const at::Tensor cosines = angles.cos().mean(0);
  const at::Tensor sines = angles.sin().mean(0);
  const auto block = [&](int64_t row, int64_t column) {
    return rotation.narrow(0, row, pairs).narrow(1, column, pairs).diagonal();
  };
  block(0, 0).copy_(cosines);
  block(0, pairs).copy_(sines.neg());
  block(pairs, 0).copy_(sines);
  block(pairs, pairs).copy_(cosines);
  return rotation;
}

}  // namespace

at::Tensor ExpectedAttentionScores(const PolicyInput& input) {
  const int64_t heads = input.keys.size(0);
  const int64_t tokens = input.keys.size(1);
  const at::Tensor scores =
      at::full({heads, tokens}, std::numeric_limits<float>::max(), input.keys.options());
  const int64_t scored = tokens - std::min(kSinks, tokens);
  if (scored == 0) return scores;
  const int64_t next = input.positions[tokens - 1].item<int64_t>() + 1;
  const at::Tensor rotation = MeanRotation(input.keys.size(2), input.rope_frequencies, next)
                                  .to(input.keys.device(), at::kFloat);
  const double scale = input.queries.scale;
  // [heads, group, head_dim] and [heads, group, head_dim, head_dim].
  const at::Tensor means = input.queries.means.matmul(rotation.t()).mul(scale);
  const at::Tensor covariances =
      rotation.matmul(input.queries.covariances).matmul(rotation.t()).mul(scale * scale / 2);
  for (int64_t head = 0; head < heads; ++head) {
    const at::Tensor keys = input.keys[head].narrow(0, tokens - scored, scored);
    const at::Tensor linear = means[head].matmul(keys.t());
    const at::Tensor quadratic = keys.unsqueeze(0).matmul(covariances[head]).mul(keys).sum(-1);
    const at::Tensor expected = linear.add(quadratic).softmax(-1).mean(0);
    const at::Tensor norms = input.values[head].narrow(0, tokens - scored, scored).norm(2, {-1});
    scores[head].narrow(0, tokens - scored, scored).copy_(expected.mul(norms));
  }
  return scores;
}

}  // namespace kvp

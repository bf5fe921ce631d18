#include "policy/heuristics/cur.h"

#include <algorithm>
#include <limits>

#include "ATen/ops/constant_pad_nd.h"

namespace kvp {
namespace {

constexpr int64_t kSinks = 4;
constexpr int64_t kWindow = 16;

// Each vector's share of its window's squared norms: `vectors` [heads, tokens, dim] give [heads,
// tokens]. The last window may be shorter.
at::Tensor WindowShares(const at::Tensor& vectors) {
  const int64_t heads = vectors.size(0);
  const int64_t tokens = vectors.size(1);
  const int64_t windows = (tokens + kWindow - 1) / kWindow;
  const at::Tensor squares =
      at::constant_pad_nd(vectors.square().sum(-1), {0, windows * kWindow - tokens})
          .view({heads, windows, kWindow});
  const at::Tensor sums =
      squares.sum(-1, /*keepdim=*/true).clamp_min(std::numeric_limits<float>::min());
  return squares.div(sums).view({heads, windows * kWindow}).narrow(1, 0, tokens);
}

}  // namespace

at::Tensor CurScores(const PolicyInput& input) {
  const at::Tensor scores = WindowShares(input.keys).mul(WindowShares(input.values));
  scores.narrow(1, 0, std::min(kSinks, scores.size(1))).fill_(1);
  return scores;
}

}  // namespace kvp

#include "policy/heuristics/lag_kv.h"

#include <algorithm>

#include "ATen/ops/empty.h"
#include "ATen/ops/linspace.h"

namespace kvp {
namespace {

constexpr int64_t kSinks = 4;
constexpr int64_t kLag = 128;
// Keeps a channel in which the next block has one value only from dividing by zero.
constexpr double kSmallestRange = 1e-6;

// For `vectors` [heads, tokens, dim] the parts of the first `blocks` blocks: [heads, blocks, kLag].
at::Tensor BlockParts(const at::Tensor& vectors, int64_t blocks) {
  const at::Tensor split = vectors.narrow(1, kSinks, (blocks + 1) * kLag)
                               .reshape({vectors.size(0), blocks + 1, kLag, vectors.size(2)});
  const at::Tensor next = split.narrow(1, 1, blocks);
  const at::Tensor least = next.amin(2, /*keepdim=*/true);
  const at::Tensor range = next.amax(2, /*keepdim=*/true).sub(least).clamp_min(kSmallestRange);
  const at::Tensor normalised = split.narrow(1, 0, blocks).sub(least).div(range);
  const at::Tensor deviations = normalised.sub(normalised.mean(-1, /*keepdim=*/true))
                                    .square()
                                    .sum(-1)
                                    .div(static_cast<double>(vectors.size(2) - 1))
                                    .sqrt();
  return deviations.softmax(-1);
}

}  // namespace

at::Tensor LagKvScores(const PolicyInput& input) {
  const int64_t heads = input.keys.size(0);
  const int64_t tokens = input.keys.size(1);
  const int64_t sinks = std::min(kSinks, tokens);
  const int64_t blocks = std::max<int64_t>(0, (tokens - sinks) / kLag - 1);
  const int64_t tail = tokens - sinks - blocks * kLag;
  const at::Tensor scores = at::empty({heads, tokens}, input.keys.options());
  scores.narrow(1, 0, sinks).fill_(3);
  scores.narrow(1, tokens - tail, tail).copy_(at::linspace(1, 2, tail, input.keys.options()));
  if (blocks == 0) return scores;
  const at::Tensor parts =
      BlockParts(input.keys, blocks).add(BlockParts(input.values, blocks)).div(2);
  const at::Tensor ranks = parts.argsort(-1, /*descending=*/false)
                               .argsort(-1, /*descending=*/false)
                               .to(at::kFloat)
                               .div(kLag);
  scores.narrow(1, sinks, blocks * kLag).copy_(ranks.reshape({heads, blocks * kLag}));
  return scores;
}

}  // namespace kvp

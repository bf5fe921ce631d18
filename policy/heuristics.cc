#include "policy/heuristics.h"

#include "ATen/ATen.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

constexpr int64_t kStreamingSinks = 4;
// Keeps the direction of a zero key defined, as torch's cosine_similarity does.
constexpr double kSmallestNorm = 1e-8;

at::Tensor Directions(const at::Tensor& vectors) {
  return vectors / vectors.norm(2, {-1}, /*keepdim=*/true).clamp_min(kSmallestNorm);
}

}  // namespace

at::Tensor RandomScores(const std::vector<HeadId>& heads, int64_t tokens, uint64_t sequence_seed) {
  std::vector<at::Tensor> scores;
  scores.reserve(heads.size());
  for (const HeadId head : heads) {
    scores.push_back(SeededUniform(
        {tokens}, MixSeed({sequence_seed, uint64_t(head.layer), uint64_t(head.kv_head)})));
  }
  return at::stack(scores);
}

at::Tensor StreamingLlmScores(const at::Tensor& positions, int64_t heads) {
  const int64_t tokens = positions.size(0);
  // Numbers of entries, not positions: fp32 tells them apart in any cache that fits a machine.
  const at::Tensor order = at::arange(tokens, positions.options().dtype(at::kFloat));
  const at::Tensor scores = at::where(positions < kStreamingSinks, 2.0 * tokens - order, order);
  return scores.to(at::kFloat).expand({heads, tokens});
}

at::Tensor KNormScores(const at::Tensor& keys) { return keys.norm(2, {-1}).neg(); }

at::Tensor KeyDiffScores(const at::Tensor& keys) {
  const at::Tensor directions = Directions(keys);
  const at::Tensor anchor = Directions(directions.mean(1, /*keepdim=*/true));
  return (directions * anchor).sum(-1).neg();
}

}  // namespace kvp

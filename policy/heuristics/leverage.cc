#include "policy/heuristics/leverage.h"

#include <cmath>
#include <vector>

#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_solve.h"
#include "ATen/ops/stack.h"
#include "policy/agent_network.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

constexpr int64_t kSketch = 48;
constexpr double kRidge = 0.01;
constexpr double kSmallestDeviation = 1e-12;

// [tokens], for one head's keys before rotation [tokens, head_dim].
at::Tensor HeadLeverage(const at::Tensor& keys, uint64_t seed) {
  const at::Tensor gaussian =
      SeededNormal({keys.size(1), kSketch}, seed).to(keys.options()).div(std::sqrt(kSketch));
  const at::Tensor sketch = keys.sub(keys.mean(0, /*keepdim=*/true)).matmul(gaussian);
  const at::Tensor gram = sketch.t().matmul(sketch).add(at::eye(kSketch, sketch.options()), kRidge);
  const at::Tensor leverage = at::linalg_solve(gram, sketch.t()).t().mul(sketch).sum(-1);
  const at::Tensor centred = leverage.sub(leverage.mean());
  return centred.div(centred.square().mean().sqrt().clamp_min(kSmallestDeviation));
}

}  // namespace

at::Tensor LeverageScores(const PolicyInput& input) {
  const at::Tensor keys = UndoRotation(input.keys, input.positions, input.rope_frequencies);
  std::vector<at::Tensor> scores;
  for (size_t i = 0; i < input.heads.size(); ++i) {
    const HeadId head = input.heads[i];
    // In fp64: the entries' number doesn't bound the condition of the small matrix.
    scores.push_back(
        HeadLeverage(keys[static_cast<int64_t>(i)].to(at::kDouble),
                     MixSeed({input.sequence_seed, uint64_t(head.layer), uint64_t(head.kv_head)})));
  }
  return at::stack(scores).to(at::kFloat);
}

}  // namespace kvp

#include "policy/heuristics/random_scores.h"

#include <vector>

#include "ATen/ops/stack.h"
#include "policy/seeded_random.h"

namespace kvp {

at::Tensor RandomScores(const PolicyInput& input) {
  const at::Tensor positions = input.positions.cpu().contiguous();
  std::vector<at::Tensor> scores;
  scores.reserve(input.heads.size());
  for (const HeadId head : input.heads) {
    const uint64_t seed =
        MixSeed({input.sequence_seed, uint64_t(head.layer), uint64_t(head.kv_head)});
    scores.push_back(SeededUniformAt(positions, seed));
  }
  return at::stack(scores).to(input.keys.device());
}

}  // namespace kvp

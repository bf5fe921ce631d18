#include "policy/heuristics/tova.h"

#include <map>
#include <utility>
#include <vector>

#include "ATen/ops/stack.h"
#include "policy/heuristics/recent_attention.h"

namespace kvp {

at::Tensor TovaScores(const PolicyInput& input) {
  // The sum over the heads of a layer, and their number.
  std::map<int32_t, std::pair<at::Tensor, int64_t>> layers;
  for (size_t i = 0; i < input.heads.size(); ++i) {
    const at::Tensor attention = RecentAttention(input, static_cast<int64_t>(i), 1).mean(0)[0];
    auto& [sum, heads] = layers[input.heads[i].layer];
    sum = heads == 0 ? attention : sum.add(attention);
    ++heads;
  }
  std::vector<at::Tensor> scores;
  for (const HeadId head : input.heads) {
    const auto& [sum, heads] = layers[head.layer];
    scores.push_back(sum.div(heads));
  }
  const at::Tensor result = at::stack(scores);
  // No attention weight is larger.
  result.select(1, result.size(1) - 1).fill_(2);
  return result;
}

}  // namespace kvp

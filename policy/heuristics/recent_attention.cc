#include "policy/heuristics/recent_attention.h"

#include <limits>

namespace kvp {

at::Tensor RecentAttention(const PolicyInput& input, int64_t head, int64_t queries) {
  const ObservedQueries& observed = input.queries;
  const at::Tensor recent = observed.recent[head];
  const at::Tensor asked = recent.narrow(1, recent.size(1) - queries, queries);
  const at::Tensor scores = asked.matmul(input.keys[head].t()).mul(observed.scale);
  const at::Tensor positions = input.positions.to(scores.device());
  const at::Tensor from = positions.narrow(0, positions.size(0) - queries, queries).unsqueeze(1);
  at::Tensor hidden = positions.unsqueeze(0).gt(from);
  if (const int64_t window = observed.windows[static_cast<size_t>(head)]; window > 0) {
    hidden = hidden.logical_or(positions.unsqueeze(0).le(from.sub(window)));
  }
  return scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()).softmax(-1);
}

}  // namespace kvp

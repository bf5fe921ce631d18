#include "policy/heuristics/snap_kv.h"

#include <algorithm>

#include "ATen/ops/avg_pool1d.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/linspace.h"
#include "policy/heuristics/recent_attention.h"

namespace kvp {
namespace {

constexpr int64_t kWindow = 64;
constexpr int64_t kPool = 5;

}  // namespace

at::Tensor SnapKvScores(const PolicyInput& input) {
  const int64_t heads = input.keys.size(0);
  const int64_t tokens = input.keys.size(1);
  const int64_t window = std::min({kWindow, tokens, input.queries.recent.size(2)});
  const int64_t earlier = tokens - window;
  const at::Tensor scores = at::empty({heads, tokens}, input.keys.options());
  // Above every mean of attention weights.
  scores.narrow(1, earlier, window).copy_(at::linspace(2, 3, window, input.keys.options()));
  for (int64_t head = 0; head < heads && earlier > 0; ++head) {
    const at::Tensor seen = RecentAttention(input, head, window).narrow(2, 0, earlier).mean(1);
    const at::Tensor pooled = at::avg_pool1d(seen.unsqueeze(1), {kPool}, {1}, {kPool / 2});
    scores[head].narrow(0, 0, earlier).copy_(pooled.squeeze(1).mean(0));
  }
  return scores;
}

}  // namespace kvp

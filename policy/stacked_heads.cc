#include "policy/stacked_heads.h"

#include <algorithm>
#include <functional>

#include "ATen/ops/tensor.h"
#include "absl/strings/str_cat.h"

namespace kvp {

absl::StatusOr<std::vector<int64_t>> IndicesOf(const std::vector<HeadId>& heads, int64_t layers,
                                               int64_t kv_heads) {
  std::vector<int64_t> indices;
  indices.reserve(heads.size());
  for (const HeadId head : heads) {
    if (head.layer < 0 || head.layer >= layers || head.kv_head < 0 || head.kv_head >= kv_heads) {
      return absl::InvalidArgumentError(absl::StrCat("nothing is known of layer ", head.layer,
                                                     ", KV head ", head.kv_head, " among ", layers,
                                                     " x ", kv_heads));
    }
    indices.push_back(head.Index(static_cast<int32_t>(kv_heads)));
  }
  return indices;
}

at::Tensor SelectHeads(const at::Tensor& stack, const std::vector<int64_t>& indices) {
  const auto follows = [](int64_t a, int64_t b) { return b != a + 1; };
  if (std::adjacent_find(indices.begin(), indices.end(), follows) == indices.end()) {
    return stack.narrow(0, indices.front(), static_cast<int64_t>(indices.size()));
  }
  return stack.index_select(0, at::tensor(indices, at::kLong).to(stack.device()));
}

}  // namespace kvp

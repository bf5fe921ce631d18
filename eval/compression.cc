#include "eval/compression.h"

#include <tuple>
#include <vector>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/stack.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<PolicyInput> InputOfCache(const KvCache& cache, uint64_t sequence_seed) {
  const at::NoGradGuard no_gradients;
  const int64_t tokens = cache.length(0, 0);
  PolicyInput input;
  input.sequence_seed = sequence_seed;
  std::vector<at::Tensor> keys;
  std::vector<at::Tensor> values;
  for (int32_t layer = 0; layer < cache.layers(); ++layer) {
    for (int32_t head = 0; head < cache.kv_heads(); ++head) {
      if (cache.length(layer, head) != tokens || tokens == 0) {
        return absl::FailedPreconditionError(absl::StrCat(
            "layer ", layer, ", KV head ", head, ": ", cache.length(layer, head),
            " cache entries; all heads need the same positive number to be scored together"));
      }
      input.heads.push_back({layer, head});
      keys.push_back(cache.keys(layer, head));
      values.push_back(cache.values(layer, head));
    }
  }
  input.keys = at::stack(keys).to(at::kFloat);
  input.values = at::stack(values).to(at::kFloat);
  input.positions = cache.positions(0, 0).to(input.keys.device());
  return input;
}

absl::Status CompressCache(const Policy& policy, const PolicyInput& input, const at::Tensor& scores,
                           double budget, const ProtectedTokens& protected_tokens, KvCache& cache) {
  const at::NoGradGuard no_gradients;
  const int64_t tokens = cache.length(0, 0);
  const int64_t heads = cache.layers() * cache.kv_heads();
  if (scores.dim() != 2 || scores.size(0) != heads || scores.size(1) != tokens ||
      static_cast<int64_t>(input.heads.size()) != heads) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores [", absl::StrJoin(scores.sizes(), ", "), "] of ", input.heads.size(),
                     " heads aren't [", heads, ", ", tokens, "], the cache's heads and entries"));
  }
  ASSIGN_OR_RETURN(const int64_t mean, BudgetTokens(budget, tokens));
  ASSIGN_OR_RETURN(const std::vector<int64_t> budgets,
                   policy.HeadBudgets(input, scores, mean, protected_tokens));
  const at::Tensor ranking = Ranking(scores, protected_tokens).cpu();
  int64_t total = 0;
  for (int64_t layer = 0; layer < cache.layers(); ++layer) {
    for (int64_t head = 0; head < cache.kv_heads(); ++head) {
      const int64_t row = layer * cache.kv_heads() + head;
      const int64_t kept = budgets[static_cast<size_t>(row)];
      RETURN_IF_ERROR(cache.Keep(layer, head, std::get<0>(ranking[row].narrow(0, 0, kept).sort())));
      if (cache.length(layer, head) != kept || cache.keys(layer, head).size(0) != kept ||
          cache.values(layer, head).size(0) != kept) {
        return absl::InternalError(absl::StrCat("layer ", layer, ", KV head ", head, ": ",
                                                cache.length(layer, head),
                                                " entries after compaction, the budget is ", kept));
      }
      total += kept;
    }
  }
  if (total != heads * mean) {
    return absl::InternalError(absl::StrCat("policy ", policy.name(), ": ", total,
                                            " entries after compaction, the budget of all ", heads,
                                            " heads is ", heads * mean));
  }
  return absl::OkStatus();
}

}  // namespace kvp

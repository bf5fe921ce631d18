#include "eval/importance_observer.h"

#include "ATen/ops/cat.h"
#include "ATen/ops/zeros.h"
#include "util/future_importance.h"
#include "util/status_macros.h"

namespace kvp {

absl::Status ImportanceObserver::OnAttention(const AttentionChunk& chunk) {
  const at::Tensor& queries = chunk.queries;
  const KvCache& cache = *chunk.cache;
  const int64_t kv_heads = cache.kv_heads();
  const int64_t group = queries.size(0) / kv_heads;
  if (importance_.empty()) {
    for (int64_t head = 0; head < cache.layers() * kv_heads; ++head) {
      importance_.push_back(at::zeros({1, context_tokens_}, queries.options().dtype(at::kFloat)));
    }
  }
  for (int64_t head = 0; head < kv_heads; ++head) {
    RETURN_IF_ERROR(AddFutureImportance(
        queries.narrow(0, head * group, group), cache.keys(chunk.layer, head), chunk.first_position,
        {context_tokens_}, importance_[chunk.layer * kv_heads + head]));
  }
  return absl::OkStatus();
}

at::Tensor ImportanceObserver::importance() const {
  return importance_.empty() ? at::Tensor() : at::cat(importance_);
}

}  // namespace kvp

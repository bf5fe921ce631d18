#include "llm/importance_observer.h"

#include <algorithm>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// A matrix product over this many queries runs at nearly full speed; more would only hold memory.
constexpr int64_t kPendingTokens = 64;

absl::Status CheckComplete(const AttentionChunk& chunk) {
  const KvCache& cache = *chunk.cache;
  for (int64_t head = 0; head < cache.kv_heads(); ++head) {
    if (cache.complete(chunk.layer, head)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("importance: head ", head, " of layer ", chunk.layer, " holds ",
                     cache.length(chunk.layer, head), " entries at position ",
                     chunk.first_position + chunk.queries.size(1), ": some were removed"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ImportanceObserver>> ImportanceObserver::Create(
    const ModelConfig& config, std::vector<int64_t> cuts) {
  std::vector<FutureImportance> layers;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    ASSIGN_OR_RETURN(FutureImportance importance, FutureImportance::Create(config.kv_heads, cuts));
    layers.push_back(std::move(importance));
  }
  return std::unique_ptr<ImportanceObserver>(new ImportanceObserver(std::move(layers)));
}

absl::Status ImportanceObserver::OnAttention(const AttentionChunk& chunk) {
  RETURN_IF_ERROR(CheckComplete(chunk));
  const int64_t end = chunk.first_position + chunk.queries.size(1);
  if (end <= layers_[chunk.layer].cuts().front()) return absl::OkStatus();
  if (!chunk.weights.defined() && chunk.queries.size(1) < kPendingTokens) return Defer(chunk);
  LayerAttention attention;
  attention.queries = chunk.queries;
  attention.first_position = chunk.first_position;
  attention.keys = chunk.cache->layer_keys(chunk.layer);
  attention.scale = chunk.scale;
  attention.window = chunk.window;
  attention.weights = chunk.weights;
  attention.first_entry = chunk.first_entry;
  attention.log_sum_exp = chunk.log_sum_exp;
  return layers_[chunk.layer].Add(attention);
}

absl::Status ImportanceObserver::Defer(const AttentionChunk& chunk) {
  Pending& pending = pending_[chunk.layer];
  const int64_t next = pending.first_position + pending.tokens;
  if (pending.tokens > 0 && next != chunk.first_position) {
    // A long chunk came between, which was not deferred.
    if (chunk.first_position < next) {
      return absl::InvalidArgumentError(absl::StrCat("importance: queries from position ",
                                                     chunk.first_position, " in layer ",
                                                     chunk.layer, " don't follow ", next - 1));
    }
    RETURN_IF_ERROR(Flush(chunk.layer, *chunk.cache));
  }
  if (pending.tokens == 0) {
    pending.first_position = chunk.first_position;
    pending.scale = chunk.scale;
    pending.window = chunk.window;
  }
  pending.queries.push_back(chunk.queries.clone());
  pending.log_sum_exp.push_back(chunk.log_sum_exp.defined() ? chunk.log_sum_exp.clone()
                                                            : at::Tensor());
  pending.tokens += chunk.queries.size(1);
  return pending.tokens < kPendingTokens ? absl::OkStatus() : Flush(chunk.layer, *chunk.cache);
}

absl::Status ImportanceObserver::Flush(int64_t layer, const KvCache& cache) {
  const Pending pending = std::exchange(pending_[layer], {});
  if (pending.tokens == 0) return absl::OkStatus();
  LayerAttention attention;
  attention.queries = at::cat(pending.queries, /*dim=*/1);
  attention.first_position = pending.first_position;
  attention.keys = cache.layer_keys(layer);
  attention.scale = pending.scale;
  attention.window = pending.window;
  if (std::all_of(pending.log_sum_exp.begin(), pending.log_sum_exp.end(),
                  [](const at::Tensor& part) { return part.defined(); })) {
    attention.log_sum_exp = at::cat(pending.log_sum_exp, /*dim=*/1);
  }
  return layers_[layer].Add(attention);
}

absl::StatusOr<at::Tensor> ImportanceObserver::FinishLayer(int64_t layer, const KvCache& cache) {
  RETURN_IF_ERROR(Flush(layer, cache));
  return layers_[layer].Labels();
}

absl::StatusOr<std::vector<at::Tensor>> ImportanceObserver::Finish(const KvCache& cache) {
  std::vector<at::Tensor> labels(layers_.size());
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    ASSIGN_OR_RETURN(labels[layer], FinishLayer(static_cast<int64_t>(layer), cache));
  }
  return labels;
}

}  // namespace kvp

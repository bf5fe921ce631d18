#include "collector/trace_recorder.h"

#include <algorithm>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr double kLargestHalf = 65504;

at::Tensor EmptyBf16Like(const at::Tensor& tensor, at::IntArrayRef shape) {
  return at::empty(shape, tensor.options().dtype(at::kBFloat16));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TraceRecorder>> TraceRecorder::Create(const ModelConfig& config,
                                                                     std::vector<int64_t> cuts,
                                                                     bool record_queries) {
  const int64_t entries = cuts.empty() ? 0 : cuts.back();
  ASSIGN_OR_RETURN(std::unique_ptr<ImportanceObserver> importance,
                   ImportanceObserver::Create(config, std::move(cuts)));
  return std::unique_ptr<TraceRecorder>(
      new TraceRecorder(config.layers, entries, record_queries, std::move(importance)));
}

absl::Status TraceRecorder::OnAttention(const AttentionChunk& chunk) {
  RETURN_IF_ERROR(importance_->OnAttention(chunk));
  Layer& layer = layers_[chunk.layer];
  if (record_queries_ && chunk.first_position < entries_) {
    const int64_t tokens = std::min(chunk.queries.size(1), entries_ - chunk.first_position);
    const int64_t kv_heads = chunk.cache->kv_heads();
    const at::Tensor queries = EmptyBf16Like(
        chunk.queries, {kv_heads, chunk.queries.size(0) / kv_heads, tokens, chunk.queries.size(2)});
    queries.view({chunk.queries.size(0), tokens, chunk.queries.size(2)})
        .copy_(chunk.queries.narrow(1, 0, tokens));
    layer.queries.push_back(copies_.Begin(queries));
  }
  const int64_t end = chunk.first_position + chunk.queries.size(1);
  if (layer.keys_values.defined() || end < entries_) return absl::OkStatus();
  const at::Tensor keys = chunk.cache->layer_keys(chunk.layer);
  const at::Tensor values = chunk.cache->layer_values(chunk.layer);
  const at::Tensor both = EmptyBf16Like(keys, {2, keys.size(0), entries_, keys.size(2)});
  both[0].copy_(keys.narrow(1, 0, entries_));
  both[1].copy_(values.narrow(1, 0, entries_));
  layer.keys_values = copies_.Begin(both);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LayerRecord>> TraceRecorder::Finish(const KvCache& cache) {
  ASSIGN_OR_RETURN(const std::vector<at::Tensor> labels, importance_->Finish(cache));
  std::vector<LayerRecord> records(layers_.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (!layers_[i].keys_values.defined()) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", i, " saw ", cache.next_position(),
                                                     " tokens; the last cut is ", entries_));
    }
    records[i].labels = copies_.Begin(labels[i].clamp_max(kLargestHalf).to(at::kHalf).contiguous());
    records[i].keys = layers_[i].keys_values[0];
    records[i].values = layers_[i].keys_values[1];
  }
  copies_.Wait();
  for (size_t i = 0; record_queries_ && i < layers_.size(); ++i) {
    records[i].queries = at::cat(layers_[i].queries, /*dim=*/2);
  }
  return records;
}

}  // namespace kvp

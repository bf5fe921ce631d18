#include "eval/query_observer.h"

#include "ATen/ops/cat.h"
#include "absl/strings/str_cat.h"
#include "llm/kv_cache.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// The layers' tensors as one, or an undefined one where they are.
at::Tensor Joined(const std::vector<QueryStatistics>& layers,
                  at::Tensor (QueryStatistics::*statistic)() const) {
  std::vector<at::Tensor> parts;
  for (const QueryStatistics& layer : layers) {
    parts.push_back((layer.*statistic)());
    if (!parts.back().defined()) return at::Tensor();
    parts.back() = parts.back().to(parts.front().device());
  }
  return at::cat(parts);
}

}  // namespace

absl::Status CheckNothingRemoved(absl::string_view what, const AttentionChunk& chunk) {
  const KvCache& cache = *chunk.cache;
  for (int64_t head = 0; head < cache.kv_heads(); ++head) {
    if (cache.complete(chunk.layer, head) && cache.layer_keys(chunk.layer).defined()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": layer ", chunk.layer, ", KV head ", head, " holds ",
                     cache.length(chunk.layer, head), " entries at position ",
                     chunk.first_position + chunk.queries.size(1), ": some were removed"));
  }
  return absl::OkStatus();
}

LayerAttention LayerAttentionOf(const AttentionChunk& chunk) {
  LayerAttention attention;
  attention.queries = chunk.queries;
  attention.first_position = chunk.first_position;
  attention.keys = chunk.cache->layer_keys(chunk.layer);
  attention.scale = chunk.scale;
  attention.window = chunk.window;
  attention.weights = chunk.weights;
  attention.first_entry = chunk.first_entry;
  attention.log_sum_exp = chunk.log_sum_exp;
  return attention;
}

QueryObserver::QueryObserver(const Decoder& decoder, QueryStatistics::Wanted wanted) {
  const ModelConfig& config = decoder.config();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    layers_.emplace_back(config.kv_heads, decoder.rope_frequencies(), wanted);
    windows_.insert(windows_.end(), config.kv_heads, config.window(layer));
  }
}

absl::Status QueryObserver::OnAttention(const AttentionChunk& chunk) {
  RETURN_IF_ERROR(CheckNothingRemoved("queries", chunk));
  scale_ = chunk.scale;
  layers_[chunk.layer].Add(LayerAttentionOf(chunk));
  return absl::OkStatus();
}

ObservedQueries QueryObserver::Observed() const {
  ObservedQueries observed;
  observed.recent = Joined(layers_, &QueryStatistics::recent);
  observed.attention_sums = Joined(layers_, &QueryStatistics::attention_sums);
  observed.means = Joined(layers_, &QueryStatistics::means);
  observed.covariances = Joined(layers_, &QueryStatistics::covariances);
  observed.scale = scale_;
  observed.windows = windows_;
  return observed;
}

}  // namespace kvp

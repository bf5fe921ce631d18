#include "collector/trace_recorder.h"

#include <algorithm>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "c10/util/accumulate.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr double kLargestHalf = 65504;

at::Tensor EmptyBf16Like(const at::Tensor& tensor, at::IntArrayRef shape) {
  return at::empty(shape, tensor.options().dtype(at::kBFloat16));
}

// The next part of a packed tensor of numbers of two bytes.
class Packed {
 public:
  explicit Packed(at::Tensor numbers) : numbers_(std::move(numbers)) {}

  at::Tensor Take(at::IntArrayRef shape, at::ScalarType dtype) {
    const int64_t count = c10::multiply_integers(shape);
    const at::Tensor part = numbers_.narrow(0, taken_, count).view(dtype).view(shape);
    taken_ += count;
    return part;
  }

 private:
  const at::Tensor numbers_;
  int64_t taken_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TraceRecorder>> TraceRecorder::Create(const ModelConfig& config,
                                                                     std::vector<int64_t> cuts,
                                                                     bool record_queries,
                                                                     int64_t sequence_tokens) {
  const int64_t entries = cuts.empty() ? 0 : cuts.back();
  if (sequence_tokens != 0 && sequence_tokens < entries) {
    return absl::InvalidArgumentError(
        absl::StrCat("the last cut is ", entries, ", but sequence_tokens is ", sequence_tokens));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<ImportanceObserver> importance,
                   ImportanceObserver::Create(config, std::move(cuts)));
  return std::unique_ptr<TraceRecorder>(new TraceRecorder(config.layers, entries, record_queries,
                                                          sequence_tokens, std::move(importance)));
}

absl::Status TraceRecorder::OnAttention(const AttentionChunk& chunk) {
  RETURN_IF_ERROR(importance_->OnAttention(chunk));
  if (record_queries_ && chunk.first_position < entries_) CopyQueries(chunk);
  const int64_t end = chunk.first_position + chunk.queries.size(1);
  const bool ready = end >= (sequence_tokens_ > 0 ? sequence_tokens_ : entries_);
  if (!ready || records_[chunk.layer].keys.defined()) return absl::OkStatus();
  return CopyLayer(chunk.layer, *chunk.cache);
}

void TraceRecorder::CopyQueries(const AttentionChunk& chunk) {
  const int64_t tokens = std::min(chunk.queries.size(1), entries_ - chunk.first_position);
  const int64_t kv_heads = chunk.cache->kv_heads();
  const at::Tensor queries = EmptyBf16Like(
      chunk.queries, {kv_heads, chunk.queries.size(0) / kv_heads, tokens, chunk.queries.size(2)});
  queries.view({chunk.queries.size(0), tokens, chunk.queries.size(2)})
      .copy_(chunk.queries.narrow(1, 0, tokens));
  queries_[chunk.layer].push_back(copies_.Begin(queries));
}

absl::Status TraceRecorder::CopyLayer(int64_t layer, const KvCache& cache) {
  const at::Tensor keys = cache.layer_keys(layer).narrow(1, 0, entries_);
  const at::Tensor values = cache.layer_values(layer).narrow(1, 0, entries_);
  at::Tensor labels = at::empty({0});
  if (sequence_tokens_ > 0) {
    ASSIGN_OR_RETURN(labels, importance_->FinishLayer(layer, cache));
    labels.clamp_max_(kLargestHalf);
  }
  const at::Tensor packed = EmptyBf16Like(keys, {2 * keys.numel() + labels.numel()});
  Packed parts(packed);
  parts.Take(keys.sizes(), at::kBFloat16).copy_(keys);
  parts.Take(values.sizes(), at::kBFloat16).copy_(values);
  parts.Take(labels.sizes(), at::kHalf).copy_(labels);

  Packed host(copies_.Begin(packed));
  LayerRecord& record = records_[layer];
  record.keys = host.Take(keys.sizes(), at::kBFloat16);
  record.values = host.Take(values.sizes(), at::kBFloat16);
  if (sequence_tokens_ > 0) record.labels = host.Take(labels.sizes(), at::kHalf);
  return absl::OkStatus();
}

absl::Status TraceRecorder::CopyLabels(const KvCache& cache) {
  const size_t layers = records_.size();
  for (size_t begin = 0, end = 0; begin < layers; begin = end) {
    const auto device_of = [&](size_t i) {
      return cache.layer_keys(static_cast<int64_t>(i)).device();
    };
    while (end < layers && device_of(end) == device_of(begin)) ++end;
    at::Tensor packed;
    for (size_t i = begin; i < end; ++i) {
      ASSIGN_OR_RETURN(const at::Tensor labels,
                       importance_->FinishLayer(static_cast<int64_t>(i), cache));
      if (i == begin) {
        const std::vector<int64_t> shape = {static_cast<int64_t>(end - begin), labels.size(0),
                                            labels.size(1), labels.size(2)};
        packed = at::empty(shape, at::TensorOptions().dtype(at::kHalf).device(device_of(begin)));
      }
      packed[static_cast<int64_t>(i - begin)].copy_(labels.clamp_max(kLargestHalf));
    }
    const at::Tensor host = copies_.Begin(packed);
    for (size_t i = begin; i < end; ++i) {
      records_[i].labels = host[static_cast<int64_t>(i - begin)];
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LayerRecord>> TraceRecorder::Finish(const KvCache& cache) {
  for (size_t i = 0; i < records_.size(); ++i) {
    if (records_[i].keys.defined()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("layer ", i, " saw ", cache.next_position(), " tokens; the last cut is ",
                     entries_, sequence_tokens_ > 0 ? absl::StrCat(" of ", sequence_tokens_) : ""));
  }
  if (sequence_tokens_ == 0) RETURN_IF_ERROR(CopyLabels(cache));
  copies_.Wait();
  for (size_t i = 0; record_queries_ && i < records_.size(); ++i) {
    records_[i].queries = at::cat(std::exchange(queries_[i], {}), /*dim=*/2);
  }
  return std::move(records_);
}

}  // namespace kvp

// TraceRecorder: what a trace records of one sequence, gathered while a decoder runs.

#ifndef KVP_COLLECTOR_TRACE_RECORDER_H_
#define KVP_COLLECTOR_TRACE_RECORDER_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "collector/host_copies.h"
#include "llm/attention_observer.h"
#include "llm/importance_observer.h"
#include "llm/kv_cache.h"
#include "llm/model_config.h"

namespace kvp {

// One layer's part of a trace, on the host, contiguous.
struct LayerRecord {
  at::Tensor keys;     // bf16 [kv_heads, entries, head_dim], post-RoPE
  at::Tensor values;   // bf16 [kv_heads, entries, head_dim]
  at::Tensor labels;   // fp16 [kv_heads, cuts, entries]; what exceeds fp16 is its largest number
  at::Tensor queries;  // bf16 [kv_heads, group, entries, head_dim], post-RoPE, or undefined
};

// Watches one sequence from its first token on. The entries before the last cut are recorded. K and
// V of a layer leave for the host in one copy, as soon as the layer has seen those entries, while
// the next layer is computed. Not thread-safe.
//
// Memory, whatever the length of the sequence: on the host what Finish returns, 4 * head_dim +
// 2 * cuts bytes an entry and head (and 2 * group * head_dim for queries); on a device the labels'
// sums, 4 * cuts, the cache itself, and what util/future_importance.h says.
class TraceRecorder : public AttentionObserver {
 public:
  // `cuts`: as ImportanceObserver::Create has them, and its errors.
  static absl::StatusOr<std::unique_ptr<TraceRecorder>> Create(const ModelConfig& config,
                                                               std::vector<int64_t> cuts,
                                                               bool record_queries);

  absl::Status OnAttention(const AttentionChunk& chunk) override;

  // By layer. `cache` is the one observed. To be called once, at the end. INVALID_ARGUMENT where
  // the sequence ended before the last cut.
  absl::StatusOr<std::vector<LayerRecord>> Finish(const KvCache& cache);

 private:
  struct Layer {
    at::Tensor keys_values;           // bf16 [2, kv_heads, entries, head_dim]
    std::vector<at::Tensor> queries;  // bf16 [kv_heads, group, tokens, head_dim]
  };

  TraceRecorder(int64_t layers, int64_t entries, bool record_queries,
                std::unique_ptr<ImportanceObserver> importance)
      : entries_(entries),
        record_queries_(record_queries),
        importance_(std::move(importance)),
        layers_(layers) {}

  const int64_t entries_;
  const bool record_queries_;
  const std::unique_ptr<ImportanceObserver> importance_;
  std::vector<Layer> layers_;
  HostCopies copies_;
};

}  // namespace kvp

#endif  // KVP_COLLECTOR_TRACE_RECORDER_H_

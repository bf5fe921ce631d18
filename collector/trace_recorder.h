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

// Watches one sequence from its first token on. The entries before the last cut are recorded. Not
// thread-safe.
//
// What leaves a device, and when; each copy goes into pinned memory, from one packed tensor, while
// the device computes what comes next (collector/host_copies.h):
//   - of a sequence whose length is known from the start (its continuation is forced), one copy a
//     layer, with K, V and labels, once the layer has seen the last token;
//   - of one that is generated, one copy a layer, with K and V, once the layer has seen the entries
//     to record; and in Finish, when no token follows any more, one copy a device, with the labels
//     of all its layers;
//   - where queries are recorded, one more copy a layer and chunk: the device needn't hold them.
//
// Memory, whatever the length of the sequence: on the host what Finish returns, 4 * head_dim +
// 2 * cuts bytes an entry and head (and 2 * group * head_dim for queries); on a device the labels'
// sums, 4 * cuts, the cache itself, and what util/future_importance.h says.
class TraceRecorder : public AttentionObserver {
 public:
  // `cuts`: as ImportanceObserver::Create has them, and its errors. `sequence_tokens`: all tokens
  // that will be seen, at least as many as the last cut; 0 where that isn't known.
  static absl::StatusOr<std::unique_ptr<TraceRecorder>> Create(const ModelConfig& config,
                                                               std::vector<int64_t> cuts,
                                                               bool record_queries,
                                                               int64_t sequence_tokens = 0);

  absl::Status OnAttention(const AttentionChunk& chunk) override;

  // By layer. `cache` is the one observed. To be called once, at the end. INVALID_ARGUMENT where
  // the sequence ended before the last cut, or before sequence_tokens.
  absl::StatusOr<std::vector<LayerRecord>> Finish(const KvCache& cache);

  // Copies from devices to the host so far, those that needn't be made on the CPU included.
  int64_t host_copies() const { return copies_.begun(); }

 private:
  TraceRecorder(int64_t layers, int64_t entries, bool record_queries, int64_t sequence_tokens,
                std::unique_ptr<ImportanceObserver> importance)
      : entries_(entries),
        record_queries_(record_queries),
        sequence_tokens_(sequence_tokens),
        importance_(std::move(importance)),
        records_(layers),
        queries_(layers) {}

  void CopyQueries(const AttentionChunk& chunk);
  // K and V, and the labels where the sequence has come to its known end.
  absl::Status CopyLayer(int64_t layer, const KvCache& cache);
  absl::Status CopyLabels(const KvCache& cache);

  const int64_t entries_;
  const bool record_queries_;
  const int64_t sequence_tokens_;
  const std::unique_ptr<ImportanceObserver> importance_;
  std::vector<LayerRecord> records_;              // views into what is copied
  std::vector<std::vector<at::Tensor>> queries_;  // by layer: [kv_heads, group, tokens, head_dim]
  HostCopies copies_;
};

}  // namespace kvp

#endif  // KVP_COLLECTOR_TRACE_RECORDER_H_

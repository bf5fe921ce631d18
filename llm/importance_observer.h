// ImportanceObserver: the attention that each entry of a cache gets from later tokens, summed up
// while a decoder runs (util/future_importance.h).

#ifndef KVP_LLM_IMPORTANCE_OBSERVER_H_
#define KVP_LLM_IMPORTANCE_OBSERVER_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llm/attention_observer.h"
#include "llm/kv_cache.h"
#include "llm/model_config.h"
#include "util/future_importance.h"

namespace kvp {

// Watches one sequence's forward passes through a cache from which nothing is removed, beginning
// anywhere up to the first cut. Owns the sums, which stay on their layers' devices. Where attention
// doesn't show its weights, queries of short chunks (single tokens while decoding) are kept,
// copied, until there are enough of them for a matrix product. Not thread-safe.
class ImportanceObserver : public AttentionObserver {
 public:
  // `cuts` as FutureImportance::Create has them, and its errors.
  static absl::StatusOr<std::unique_ptr<ImportanceObserver>> Create(const ModelConfig& config,
                                                                    std::vector<int64_t> cuts);

  // INVALID_ARGUMENT where the cache has lost entries, or a chunk doesn't follow the one before;
  // FutureImportance's errors.
  absl::Status OnAttention(const AttentionChunk& chunk) override;

  // The labels of a layer that has seen its last queries: fp32 [kv_heads, cuts, entries], 0 for
  // entries at or after a row's cut. `cache` is the one observed. To be called once a layer.
  absl::StatusOr<at::Tensor> FinishLayer(int64_t layer, const KvCache& cache);
  // The same of every layer.
  absl::StatusOr<std::vector<at::Tensor>> Finish(const KvCache& cache);

 private:
  // A layer's queries that wait: consecutive chunks, the first at first_position.
  struct Pending {
    std::vector<at::Tensor> queries;      // [query_heads, tokens, head_dim]
    std::vector<at::Tensor> log_sum_exp;  // [query_heads, tokens], or undefined tensors
    int64_t tokens = 0;
    int64_t first_position = 0;
    double scale = 0;
    int64_t window = 0;
  };

  ImportanceObserver(std::vector<FutureImportance> layers)
      : layers_(std::move(layers)), pending_(layers_.size()) {}

  absl::Status Defer(const AttentionChunk& chunk);
  absl::Status Flush(int64_t layer, const KvCache& cache);

  std::vector<FutureImportance> layers_;
  std::vector<Pending> pending_;  // by layer
};

}  // namespace kvp

#endif  // KVP_LLM_IMPORTANCE_OBSERVER_H_

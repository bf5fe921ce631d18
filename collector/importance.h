// Labels of a trace: the future importance (util/future_importance.h) of every KV head's entries,
// summed up while a decoder runs.

#ifndef KVP_COLLECTOR_IMPORTANCE_H_
#define KVP_COLLECTOR_IMPORTANCE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llm/decoder.h"
#include "llm/kv_cache.h"
#include "llm/model_config.h"

namespace kvp {

// Observes one sequence's forward passes, from its first token on, through a cache from which
// nothing is removed. Owns the sums. Queries of short chunks (single tokens while decoding) are
// kept, copied, until there are enough of them for a matrix product. Not thread-safe.
class ImportanceAccumulator : public AttentionObserver {
 public:
  // `cuts`: ascending positions above 0, at least one; the entries are those before the last cut.
  // INVALID_ARGUMENT, naming the cuts, for others.
  static absl::StatusOr<std::unique_ptr<ImportanceAccumulator>> Create(const ModelConfig& config,
                                                                       std::vector<int64_t> cuts);

  // INVALID_ARGUMENT where the cache has lost entries, or a chunk doesn't follow the one before.
  absl::Status OnAttention(const AttentionChunk& chunk) override;

  // The labels: fp32 [layers, kv_heads, cuts, entries], 0 for entries at or after a row's cut.
  // `cache` is the one observed. To be called once, at the end.
  absl::StatusOr<at::Tensor> Finish(const KvCache& cache);

 private:
  // A layer's queries that wait: consecutive chunks, the first at first_position.
  struct Pending {
    std::vector<at::Tensor> queries;  // [query_heads, tokens, head_dim]
    int64_t tokens = 0;
    int64_t first_position = 0;
  };

  ImportanceAccumulator(const ModelConfig& config, std::vector<int64_t> cuts)
      : config_(config), cuts_(std::move(cuts)), pending_(config.layers) {}

  absl::Status Add(int64_t layer, const at::Tensor& queries, int64_t first_position,
                   const KvCache& cache);
  absl::Status Flush(int64_t layer, const KvCache& cache);

  const ModelConfig config_;
  const std::vector<int64_t> cuts_;
  std::vector<Pending> pending_;  // by layer
  at::Tensor importance_;         // undefined until the device is known
};

}  // namespace kvp

#endif  // KVP_COLLECTOR_IMPORTANCE_H_

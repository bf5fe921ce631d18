// QueryStatistics: what the queries of one layer show, gathered while they pass.

#ifndef KVP_POLICY_QUERY_STATISTICS_H_
#define KVP_POLICY_QUERY_STATISTICS_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "policy/policy_input.h"
#include "util/future_importance.h"

namespace kvp {

// Calls `consume` with the softmax of `attention`'s queries, block by block: fp32 [query_heads,
// queries, n] for the entries first_entry … first_entry + n - 1; all other weights are 0. The
// blocks' queries follow each other. Where attention has no weights they are computed again, in
// fp32, at most `block_bytes` of them (but at least one query's) at once. Throws what torch throws.
void ForEachAttentionBlock(
    const LayerAttention& attention,
    const std::function<void(const at::Tensor& weights, int64_t first_entry)>& consume,
    int64_t block_bytes = kFutureImportanceBlockBytes);

// Holds, where they are wanted, at most kRecentQueries queries of each head, sums over queries
// [group, head_dim, head_dim] for each KV head in fp64, and one number for each entry and KV head.
// Not thread-safe.
class QueryStatistics {
 public:
  struct Wanted {
    bool recent = false;
    bool moments = false;
    bool attention_sums = false;
  };

  QueryStatistics(int64_t kv_heads, std::vector<double> rope_frequencies, Wanted wanted)
      : kv_heads_(kv_heads), rope_frequencies_(std::move(rope_frequencies)), wanted_(wanted) {}

  // Queries of consecutive tokens, behind those added before; no entry was removed. Throws what
  // torch throws.
  void Add(const LayerAttention& attention);

  // As ObservedQueries has them, heads being this layer's KV heads; undefined where not wanted.
  at::Tensor recent() const;
  at::Tensor attention_sums() const { return attention_sums_; }
  at::Tensor means() const;
  at::Tensor covariances() const;

 private:
  void AddRecent(const at::Tensor& queries);
  void AddMoments(const at::Tensor& queries, int64_t first_position);
  void AddAttention(const LayerAttention& attention);

  const int64_t kv_heads_;
  const std::vector<double> rope_frequencies_;
  const Wanted wanted_;
  at::Tensor recent_;          // fp32 [query_heads, n, head_dim]
  at::Tensor sums_;            // fp64 [query_heads, head_dim]
  at::Tensor products_;        // fp64 [query_heads, head_dim, head_dim]
  int64_t count_ = 0;          // of the queries in them
  at::Tensor attention_sums_;  // fp32 [kv_heads, entries]
};

}  // namespace kvp

#endif  // KVP_POLICY_QUERY_STATISTICS_H_

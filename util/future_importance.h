// Future importance: what each entry of a KV cache turned out to be worth to the queries after a
// cut.
//
// For one KV head with a group of query heads h, and a cut c,
//
//   I_i(c) = sum over query positions j >= c of  max over h of A_h(j, i)      for entries i < c,
//
// where A_h(j, .) = softmax(scale * q_h(j) . k) over all keys that the model sees at position j:
// those at positions <= j and, in a layer with a sliding window, above j - window (Moschella,
// Manduchi, Sener, "Learning to Evict from Key-Value Cache", arXiv 2602.10238, section 3). It is a
// sum over queries, so the importance of a sequence is the sum of its chunks'.

#ifndef KVP_UTIL_FUTURE_IMPORTANCE_H_
#define KVP_UTIL_FUTURE_IMPORTANCE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvp {

// Bounds the attention that is alive at once where it must be computed again: queries are taken in
// blocks of as many as fit.
constexpr int64_t kFutureImportanceBlockBytes = int64_t{16} << 20;

// Attention of some consecutive queries in one layer, from which no entry was removed: an entry's
// index is its position.
struct LayerAttention {
  // [query_heads, tokens, head_dim], post-RoPE, any floating dtype, for positions first_position,
  // first_position + 1, …; query heads h * group … h * group + group - 1 belong to KV head h.
  at::Tensor queries;
  int64_t first_position = 0;
  // [kv_heads, length, head_dim], post-RoPE, length >= first_position + tokens. Later keys aren't
  // seen.
  at::Tensor keys;
  double scale = 0;    // of q . k
  int64_t window = 0;  // 0: none
  // The softmax where it is known, fp32 [query_heads, tokens, n] for the entries first_entry …
  // first_entry + n - 1; all others have weight 0. Queries and keys aren't read then.
  at::Tensor weights;
  int64_t first_entry = 0;
  // The logarithm of the softmax's denominator where it is known, fp32 [query_heads, tokens]. Then
  // only the entries before the last cut are looked at.
  at::Tensor log_sum_exp;
};

// Sums up one layer's labels. Sums are fp32 and stay on the device of the attention. Not
// thread-safe.
class FutureImportance {
 public:
  // `cuts`: ascending positions above 0, at least one; the entries are those before the last.
  // INVALID_ARGUMENT, naming the cuts, for others.
  static absl::StatusOr<FutureImportance> Create(int64_t kv_heads, std::vector<int64_t> cuts);

  // Adds what the queries contribute; those before the first cut cost nothing. From weights this is
  // one pass over them. Otherwise the attention is computed again, in fp32, at most `block_bytes`
  // of it (but at least one query's) at once, beside a copy in fp32 of the keys that are seen.
  //
  // INVALID_ARGUMENT, naming the argument and its value, for shapes that don't agree; INTERNAL or
  // RESOURCE_EXHAUSTED where torch fails.
  absl::Status Add(const LayerAttention& attention,
                   int64_t block_bytes = kFutureImportanceBlockBytes);

  // The labels: fp32 [kv_heads, cuts, entries]; row r holds the importance at cut r, 0 for entries
  // at or after it.
  at::Tensor Labels() const;

  const std::vector<int64_t>& cuts() const { return cuts_; }

 private:
  FutureImportance(int64_t kv_heads, std::vector<int64_t> cuts)
      : kv_heads_(kv_heads), cuts_(std::move(cuts)) {}

  absl::Status Check(const LayerAttention& attention) const;
  void AddWeights(const LayerAttention& attention);
  void AddBlocks(const LayerAttention& attention, int64_t block_bytes);
  // `weights` [query_heads, tokens, n] of queries from first_position on and entries from
  // first_entry on.
  void AddToSegments(const at::Tensor& weights, int64_t first_position, int64_t first_entry);
  at::Tensor& SegmentsOn(at::Device device);

  int64_t kv_heads_;
  std::vector<int64_t> cuts_;
  // fp32 [kv_heads, cuts, entries]: row r sums the queries between cut r and the next one.
  // Undefined until the device is known.
  at::Tensor segments_;
};

}  // namespace kvp

#endif  // KVP_UTIL_FUTURE_IMPORTANCE_H_

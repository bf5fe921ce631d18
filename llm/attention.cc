#include "llm/attention.h"

#include <algorithm>
#include <limits>

#include "ATen/ATen.h"
#include "llm/fused_attention.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr double kMasked = -std::numeric_limits<double>::infinity();

// Some consecutive queries, and the entries [first_entry, first_entry + entries) that at least one
// of them sees.
struct Block {
  int64_t first_query = 0;
  int64_t queries = 0;
  int64_t first_entry = 0;
  int64_t entries = 0;
};

class ChunkAttention {
 public:
  ChunkAttention(const AttentionChunk& chunk, AttentionObserver* observer, at::Tensor output)
      : chunk_(chunk),
        cache_(*chunk.cache),
        observer_(observer),
        output_(std::move(output)),
        query_heads_(chunk.queries.size(0)),
        tokens_(chunk.queries.size(1)),
        kv_heads_(cache_.kv_heads()),
        group_(query_heads_ / kv_heads_) {}

  absl::Status Run(int64_t score_bytes) {
    const at::Tensor keys = cache_.layer_keys(chunk_.layer);
    if (!keys.defined()) return RunHeads(score_bytes);
    return RunBlocks(keys, cache_.layer_values(chunk_.layer), 0, score_bytes);
  }

 private:
  // Heads that lie apart, of different lengths, one by one.
  absl::Status RunHeads(int64_t score_bytes) {
    for (int64_t head = 0; head < kv_heads_; ++head) {
      RETURN_IF_ERROR(RunBlocks(cache_.keys(chunk_.layer, head).unsqueeze(0),
                                cache_.values(chunk_.layer, head).unsqueeze(0), head, score_bytes));
    }
    if (observer_ == nullptr) return absl::OkStatus();
    return observer_->OnAttention(chunk_);
  }

  // KV heads [first_head, first_head + n): `keys` and `values` [n, length, head_dim].
  absl::Status RunBlocks(const at::Tensor& keys, const at::Tensor& values, int64_t first_head,
                         int64_t score_bytes) {
    // With entries removed, a window is not a range of indices.
    if (CanAttendFused(chunk_.queries, chunk_.window) &&
        (chunk_.window == 0 || Complete(first_head))) {
      return RunFused(keys, values, first_head);
    }
    const int64_t row_bytes = keys.size(0) * group_ * keys.size(1) * int64_t{sizeof(float)};
    const int64_t block_queries = std::clamp<int64_t>(score_bytes / row_bytes, 1, tokens_);
    for (int64_t first = 0; first < tokens_; first += block_queries) {
      const Block block =
          BlockOf(first, std::min(block_queries, tokens_ - first), keys.size(1), first_head);
      const at::Tensor weights =
          Weights(block, keys.narrow(1, block.first_entry, block.entries), first_head);
      const at::Tensor mean =
          Mean(block, weights, values.narrow(1, block.first_entry, block.entries));
      Write(block.first_query, mean, first_head);
      if (observer_ == nullptr || !cache_.layer_keys(chunk_.layer).defined()) continue;
      AttentionChunk seen = chunk_;
      seen.queries = chunk_.queries.narrow(1, first, block.queries);
      seen.first_position = chunk_.first_position + first;
      seen.weights = weights.view({query_heads_, block.queries, block.entries});
      seen.first_entry = block.first_entry;
      RETURN_IF_ERROR(observer_->OnAttention(seen));
    }
    return absl::OkStatus();
  }

  // The same by a fused kernel, which takes all queries at once.
  absl::Status RunFused(const at::Tensor& keys, const at::Tensor& values, int64_t first_head) {
    const at::Tensor queries = chunk_.queries.narrow(0, first_head * group_, keys.size(0) * group_);
    const FusedAttention fused = AttendFused(queries, keys, values, chunk_.scale, chunk_.window);
    Write(/*first_query=*/0, fused.output, first_head);
    if (observer_ == nullptr || !cache_.layer_keys(chunk_.layer).defined()) {
      return absl::OkStatus();
    }
    AttentionChunk seen = chunk_;
    seen.log_sum_exp = fused.log_sum_exp;
    return observer_->OnAttention(seen);
  }

  bool Complete(int64_t head) const { return cache_.complete(chunk_.layer, head); }

  Block BlockOf(int64_t first, int64_t queries, int64_t length, int64_t head) const {
    Block block;
    block.first_query = first;
    block.queries = queries;
    if (chunk_.window > 0 && Complete(head)) {
      block.first_entry = std::max<int64_t>(0, chunk_.first_position + first - chunk_.window + 1);
    }
    block.entries = length - tokens_ + first + queries - block.first_entry;
    return block;
  }

  // fp32 [n, group, queries, entries] for `keys` [n, entries, head_dim].
  at::Tensor Weights(const Block& block, const at::Tensor& keys, int64_t first_head) const {
    const int64_t heads = keys.size(0);
    const at::Tensor queries = chunk_.queries.narrow(0, first_head * group_, heads * group_)
                                   .narrow(1, block.first_query, block.queries)
                                   .reshape({heads, group_ * block.queries, keys.size(2)});
    const at::Tensor transposed = keys.transpose(1, 2);
    // In fp32 throughout: a large score in 16 bits would be wrong by a good part of its weight.
    at::Tensor scores =
        at::bmm(queries.to(at::kFloat).mul(chunk_.scale), transposed.to(at::kFloat));
    scores = scores.view({heads, group_, block.queries, block.entries});
    if (block.queries > 1) {
      // Only the block's own entries can lie after one of its queries.
      const at::Tensor later = at::ones({block.queries, block.queries}, Bools()).triu_(1);
      scores.narrow(3, block.entries - block.queries, block.queries).masked_fill_(later, kMasked);
    }
    if (chunk_.window > 0) MaskOutsideWindow(block, first_head, scores);
    return at::softmax(scores, -1);
  }

  void MaskOutsideWindow(const Block& block, int64_t first_head, at::Tensor& scores) const {
    // The block's entries are then those in the window.
    if (block.queries == 1 && Complete(first_head)) return;
    const int64_t first = chunk_.first_position + block.first_query;
    const at::TensorOptions longs = scores.options().dtype(at::kLong);
    const at::Tensor oldest =
        at::arange(first, first + block.queries, longs).add_(1 - chunk_.window).unsqueeze(1);
    for (int64_t i = 0; i < scores.size(0); ++i) {
      const at::Tensor positions = cache_.positions(chunk_.layer, first_head + i)
                                       .narrow(0, block.first_entry, block.entries)
                                       .to(scores.device());
      const at::Tensor outside = positions.unsqueeze(0).lt(oldest);
      if (Complete(first_head)) {
        // The same for every head.
        scores.masked_fill_(outside, kMasked);
        return;
      }
      scores[i].masked_fill_(outside, kMasked);
    }
  }

  // [n * group, queries, head_dim] for `values` [n, entries, head_dim].
  at::Tensor Mean(const Block& block, const at::Tensor& weights, const at::Tensor& values) const {
    const int64_t heads = values.size(0);
    return at::bmm(weights.view({heads, group_ * block.queries, block.entries})
                       .to(values.scalar_type()),
                   values)
        .view({heads * group_, block.queries, values.size(2)});
  }

  // Puts `mean` [query_heads, queries, head_dim] of some KV heads' query heads in its place.
  void Write(int64_t first_query, const at::Tensor& mean, int64_t first_head) {
    output_.narrow(0, first_query, mean.size(1))
        .view({mean.size(1), query_heads_, mean.size(2)})
        .narrow(1, first_head * group_, mean.size(0))
        .copy_(mean.transpose(0, 1));
  }

  at::TensorOptions Bools() const { return chunk_.queries.options().dtype(at::kBool); }

  const AttentionChunk& chunk_;
  const KvCache& cache_;
  AttentionObserver* const observer_;
  const at::Tensor output_;
  const int64_t query_heads_;
  const int64_t tokens_;
  const int64_t kv_heads_;
  const int64_t group_;
};

}  // namespace

absl::Status Attend(const AttentionChunk& chunk, AttentionObserver* observer, at::Tensor output,
                    int64_t score_bytes) {
  if (score_bytes == 0) {
    score_bytes = chunk.queries.is_cpu() ? kCpuScoreBytes : kGpuScoreBytes;
  }
  return ChunkAttention(chunk, observer, std::move(output)).Run(score_bytes);
}

}  // namespace kvp

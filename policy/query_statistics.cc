#include "policy/query_statistics.h"

#include <algorithm>
#include <limits>

#include "ATen/ops/arange.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/constant_pad_nd.h"
#include "ATen/ops/zeros.h"
#include "policy/agent_network.h"

namespace kvp {
namespace {

// True where a query at position first + row doesn't see entry begin + column.
at::Tensor Unseen(int64_t first, int64_t queries, int64_t begin, int64_t entries, int64_t window,
                  at::TensorOptions options) {
  const at::Tensor query = at::arange(first, first + queries, options).unsqueeze(1);
  const at::Tensor entry = at::arange(begin, begin + entries, options).unsqueeze(0);
  const at::Tensor later = entry.gt(query);
  return window > 0 ? later.logical_or(entry.le(query.sub(window))) : later;
}

}  // namespace

void ForEachAttentionBlock(
    const LayerAttention& attention,
    const std::function<void(const at::Tensor& weights, int64_t first_entry)>& consume,
    int64_t block_bytes) {
  if (attention.weights.defined()) {
    consume(attention.weights, attention.first_entry);
    return;
  }
  const int64_t query_heads = attention.queries.size(0);
  const int64_t kv_heads = attention.keys.size(0);
  const int64_t head_dim = attention.queries.size(2);
  const int64_t window = attention.window;
  const int64_t end = attention.first_position + attention.queries.size(1);
  // Scores are alive twice while their softmax is taken.
  const int64_t query_bytes = 2 * query_heads * end * static_cast<int64_t>(sizeof(float));
  const int64_t block = std::max<int64_t>(1, block_bytes / query_bytes);
  const at::Tensor keys = attention.keys.to(at::kFloat).transpose(1, 2);
  for (int64_t first = attention.first_position; first < end; first += block) {
    const int64_t tokens = std::min(block, end - first);
    const int64_t begin = window > 0 ? std::max<int64_t>(0, first - window + 1) : 0;
    const int64_t entries = first + tokens - begin;
    const int64_t offset = first - attention.first_position;
    const at::Tensor rows = attention.queries.narrow(1, offset, tokens)
                                .to(at::kFloat)
                                .reshape({kv_heads, query_heads / kv_heads * tokens, head_dim});
    const at::Tensor scores = at::bmm(rows, keys.narrow(2, begin, entries))
                                  .view({query_heads, tokens, entries})
                                  .mul_(attention.scale);
    const at::Tensor unseen =
        Unseen(first, tokens, begin, entries, window, scores.options().dtype(at::kLong));
    scores.masked_fill_(unseen, -std::numeric_limits<double>::infinity());
    const bool normalised = attention.log_sum_exp.defined();
    consume(normalised
                ? scores.sub(attention.log_sum_exp.narrow(1, offset, tokens).unsqueeze(2)).exp()
                : scores.softmax(-1),
            begin);
  }
}

void QueryStatistics::Add(const LayerAttention& attention) {
  if (wanted_.recent) AddRecent(attention.queries);
  if (wanted_.moments) AddMoments(attention.queries, attention.first_position);
  if (wanted_.attention_sums) AddAttention(attention);
}

void QueryStatistics::AddRecent(const at::Tensor& queries) {
  const int64_t added = std::min(queries.size(1), kRecentQueries);
  const at::Tensor last = queries.narrow(1, queries.size(1) - added, added).to(at::kFloat);
  if (!recent_.defined() || added == kRecentQueries) {
    recent_ = last.clone();
    return;
  }
  const int64_t stay = std::min(recent_.size(1), kRecentQueries - added);
  recent_ = at::cat({recent_.narrow(1, recent_.size(1) - stay, stay), last}, 1);
}

void QueryStatistics::AddMoments(const at::Tensor& queries, int64_t first_position) {
  const int64_t query_heads = queries.size(0);
  const int64_t head_dim = queries.size(2);
  if (!sums_.defined()) {
    const at::TensorOptions options = queries.options().dtype(at::kDouble);
    sums_ = at::zeros({query_heads, head_dim}, options);
    products_ = at::zeros({query_heads, head_dim, head_dim}, options);
  }
  const int64_t skipped =
      std::min(queries.size(1), std::max<int64_t>(0, kSkippedQueries - first_position));
  const int64_t tokens = queries.size(1) - skipped;
  if (tokens == 0) return;
  const at::Tensor positions =
      at::arange(first_position + skipped, first_position + queries.size(1),
                 queries.options().dtype(at::kLong));
  const at::Tensor unrotated =
      UndoRotation(queries.narrow(1, skipped, tokens).to(at::kFloat), positions, rope_frequencies_);
  sums_.add_(unrotated.sum(1));
  products_.add_(at::bmm(unrotated.transpose(1, 2), unrotated));
  count_ += tokens;
}

void QueryStatistics::AddAttention(const LayerAttention& attention) {
  const int64_t end = attention.first_position + attention.queries.size(1);
  if (!attention_sums_.defined()) {
    attention_sums_ = at::zeros({kv_heads_, end}, attention.queries.options().dtype(at::kFloat));
  } else if (end > attention_sums_.size(1)) {
    attention_sums_ = at::constant_pad_nd(attention_sums_, {0, end - attention_sums_.size(1)});
  }
  ForEachAttentionBlock(attention, [&](const at::Tensor& weights, int64_t first_entry) {
    const int64_t entries = weights.size(2);
    const at::Tensor sums =
        weights.sum(1).view({kv_heads_, weights.size(0) / kv_heads_, entries}).mean(1);
    attention_sums_.narrow(1, first_entry, entries).add_(sums);
  });
}

at::Tensor QueryStatistics::recent() const {
  if (!recent_.defined()) return recent_;
  return recent_.view({kv_heads_, recent_.size(0) / kv_heads_, recent_.size(1), recent_.size(2)});
}

at::Tensor QueryStatistics::means() const {
  if (!sums_.defined()) return sums_;
  const double count = static_cast<double>(std::max<int64_t>(1, count_));
  return sums_.div(count)
      .to(at::kFloat)
      .view({kv_heads_, sums_.size(0) / kv_heads_, sums_.size(1)});
}

at::Tensor QueryStatistics::covariances() const {
  if (!sums_.defined()) return products_;
  const double count = static_cast<double>(std::max<int64_t>(1, count_));
  const at::Tensor means = sums_.div(count);
  const at::Tensor covariances =
      products_.div(count).sub(means.unsqueeze(2).mul(means.unsqueeze(1)));
  const int64_t head_dim = sums_.size(1);
  return covariances.to(at::kFloat)
      .view({kv_heads_, sums_.size(0) / kv_heads_, head_dim, head_dim});
}

}  // namespace kvp

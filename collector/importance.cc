#include "collector/importance.h"

#include <algorithm>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "util/future_importance.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// A matrix product over this many queries runs at nearly full speed; more would only hold memory.
constexpr int64_t kPendingTokens = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<ImportanceAccumulator>> ImportanceAccumulator::Create(
    const ModelConfig& config, std::vector<int64_t> cuts) {
  bool ascending = !cuts.empty() && cuts.front() > 0;
  for (size_t i = 1; i < cuts.size(); ++i) ascending = ascending && cuts[i] > cuts[i - 1];
  if (!ascending) {
    return absl::InvalidArgumentError(
        absl::StrCat("cuts [", absl::StrJoin(cuts, ", "), "] aren't ascending positions above 0"));
  }
  return std::unique_ptr<ImportanceAccumulator>(new ImportanceAccumulator(config, std::move(cuts)));
}

absl::Status ImportanceAccumulator::OnAttention(const AttentionChunk& chunk) {
  const int64_t layer = chunk.layer;
  const at::Tensor& queries = chunk.queries;
  const KvCache& cache = *chunk.cache;
  int64_t first_position = chunk.first_position;
  for (int64_t head = 0; head < config_.kv_heads; ++head) {
    if (!cache.complete(layer, head)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "importance: head ", head, " of layer ", layer, " holds ", cache.length(layer, head),
          " entries at position ", first_position + queries.size(1), ": some were removed"));
    }
  }
  const int64_t skipped = std::max<int64_t>(0, cuts_.front() - first_position);
  const int64_t tokens = queries.size(1) - skipped;
  if (tokens <= 0) return absl::OkStatus();
  const at::Tensor seen = queries.narrow(1, skipped, tokens);
  first_position += skipped;
  Pending& pending = pending_[layer];
  if (pending.tokens > 0 && pending.first_position + pending.tokens != first_position) {
    return absl::InvalidArgumentError(
        absl::StrCat("importance: queries from position ", first_position, " in layer ", layer,
                     " don't follow ", pending.first_position + pending.tokens - 1));
  }
  if (tokens >= kPendingTokens) {
    RETURN_IF_ERROR(Flush(layer, cache));
    return Add(layer, seen, first_position, cache);
  }
  if (pending.tokens == 0) pending.first_position = first_position;
  pending.queries.push_back(seen.clone());
  pending.tokens += tokens;
  return pending.tokens < kPendingTokens ? absl::OkStatus() : Flush(layer, cache);
}

absl::Status ImportanceAccumulator::Flush(int64_t layer, const KvCache& cache) {
  const Pending pending = std::exchange(pending_[layer], {});
  if (pending.tokens == 0) return absl::OkStatus();
  return Add(layer, at::cat(pending.queries, /*dim=*/1), pending.first_position, cache);
}

absl::Status ImportanceAccumulator::Add(int64_t layer, const at::Tensor& queries,
                                        int64_t first_position, const KvCache& cache) {
  if (!importance_.defined()) {
    importance_ = at::zeros(
        {config_.layers, config_.kv_heads, static_cast<int64_t>(cuts_.size()), cuts_.back()},
        queries.options().dtype(at::kFloat));
  }
  const int64_t group = config_.query_group();
  for (int64_t head = 0; head < config_.kv_heads; ++head) {
    at::Tensor importance = importance_[layer][head];
    RETURN_IF_ERROR(AddFutureImportance(queries.narrow(0, head * group, group),
                                        cache.keys(layer, head), first_position, cuts_,
                                        importance));
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> ImportanceAccumulator::Finish(const KvCache& cache) {
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    RETURN_IF_ERROR(Flush(layer, cache));
  }
  if (!importance_.defined()) {
    return at::zeros(
        {config_.layers, config_.kv_heads, static_cast<int64_t>(cuts_.size()), cuts_.back()},
        at::kFloat);
  }
  return std::move(importance_);
}

}  // namespace kvp

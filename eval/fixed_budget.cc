#include "eval/fixed_budget.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/tensor.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// The last `tokens` entries of all heads of a layer: [kv_heads, tokens, head_dim].
at::Tensor LastEntries(const KvCache& cache, int64_t layer, int64_t tokens,
                       at::Tensor (KvCache::*of_layer)(int64_t) const,
                       at::Tensor (KvCache::*of_head)(int64_t, int64_t) const) {
  const at::Tensor together = (cache.*of_layer)(layer);
  if (together.defined()) return together.narrow(1, together.size(1) - tokens, tokens);
  std::vector<at::Tensor> heads;
  for (int64_t head = 0; head < cache.kv_heads(); ++head) {
    const at::Tensor rows = (cache.*of_head)(layer, head);
    heads.push_back(rows.narrow(0, rows.size(0) - tokens, tokens));
  }
  return at::stack(heads);
}

}  // namespace

FixedBudget::FixedBudget(const Policy* policy, Options options)
    : policy_(policy), options_(std::move(options)) {}

absl::StatusOr<FixedBudget> FixedBudget::Create(const Policy* policy, Options options) {
  if (!policy->info().scores_once) {
    return absl::InvalidArgumentError(absl::StrCat(
        "policy ", policy->name(),
        ": its scores depend on more than the entry, so it can't score entries one by one, "
        "between the chunks of a prompt and while decoding"));
  }
  const ProtectedTokens& tokens = options.protected_tokens;
  const int64_t least = std::max<int64_t>(1, tokens.sinks + tokens.recent);
  if (options.budget_tokens < least) {
    return absl::InvalidArgumentError(
        absl::StrCat("budget of ", options.budget_tokens, " entries: the first ", tokens.sinks,
                     " and the last ", tokens.recent, " are protected, so at least ", least));
  }
  return FixedBudget(policy, std::move(options));
}

absl::StatusOr<PolicyInput> FixedBudget::NewEntries(const KvCache& cache) const {
  const int64_t added = cache.next_position() - seen_;
  PolicyInput input;
  std::vector<at::Tensor> keys;
  std::vector<at::Tensor> values;
  for (int32_t layer = 0; layer < cache.layers(); ++layer) {
    for (int32_t kv_head = 0; kv_head < cache.kv_heads(); ++kv_head) {
      const int64_t known = static_cast<int64_t>(heads_[input.heads.size()].scores.size());
      if (cache.length(layer, kv_head) != known + added) {
        return absl::FailedPreconditionError(
            absl::StrCat("layer ", layer, ", KV head ", kv_head, ": ", cache.length(layer, kv_head),
                         " entries, but ", known, " were kept and ", added, " came since"));
      }
      input.heads.push_back({layer, kv_head});
    }
    keys.push_back(LastEntries(cache, layer, added, &KvCache::layer_keys, &KvCache::keys));
    values.push_back(LastEntries(cache, layer, added, &KvCache::layer_values, &KvCache::values));
    keys.back() = keys.back().to(keys.front().device());
    values.back() = values.back().to(keys.front().device());
  }
  input.keys = at::cat(keys).to(at::kFloat);
  input.values = at::cat(values).to(at::kFloat);
  input.positions = at::arange(seen_, cache.next_position(), at::kLong);
  input.rope_frequencies = options_.rope_frequencies;
  input.sequence_seed = options_.sequence_seed;
  return input;
}

absl::Status FixedBudget::Update(KvCache& cache) {
  const at::NoGradGuard no_gradients;
  if (cache.next_position() == seen_) return absl::OkStatus();
  heads_.resize(static_cast<size_t>(cache.layers() * cache.kv_heads()));
  ASSIGN_OR_RETURN(const PolicyInput input, NewEntries(cache));
  ASSIGN_OR_RETURN(const at::Tensor raw_scores, policy_->Score(input));
  const at::Tensor scores = raw_scores.to(at::kCPU, at::kDouble).contiguous();
  const double* score = scores.data_ptr<double>();
  const int64_t next = cache.next_position();
  for (Head& head : heads_) {
    for (int64_t position = seen_; position < next; ++position, ++score) {
      // A score that is no number is worth least.
      head.scores.push_back(std::isnan(*score) ? -INFINITY : *score);
      head.positions.push_back(position);
    }
  }
  seen_ = next;
  for (int64_t layer = 0; layer < cache.layers(); ++layer) {
    for (int64_t kv_head = 0; kv_head < cache.kv_heads(); ++kv_head) {
      Head& head = heads_[static_cast<size_t>(layer * cache.kv_heads() + kv_head)];
      RETURN_IF_ERROR(CutBack(layer, kv_head, head, cache));
      const int64_t kept = std::min(seen_, options_.budget_tokens);
      if (cache.length(layer, kv_head) != kept || cache.keys(layer, kv_head).size(0) != kept ||
          cache.values(layer, kv_head).size(0) != kept ||
          static_cast<int64_t>(head.scores.size()) != kept) {
        return absl::InternalError(
            absl::StrCat("layer ", layer, ", KV head ", kv_head, ": ", cache.length(layer, kv_head),
                         " entries and ", head.scores.size(), " scores, the budget is ", kept));
      }
    }
  }
  return absl::OkStatus();
}

bool FixedBudget::StaysLonger(const Head& head, int64_t a, int64_t b) const {
  const auto is_protected = [&](int64_t entry) {
    const int64_t position = head.positions[entry];
    return position < options_.protected_tokens.sinks ||
           position >= seen_ - options_.protected_tokens.recent;
  };
  const bool a_is_protected = is_protected(a);
  if (a_is_protected != is_protected(b)) return a_is_protected;
  if (head.scores[a] != head.scores[b]) return head.scores[a] > head.scores[b];
  return head.positions[a] < head.positions[b];
}

absl::Status FixedBudget::CutBack(int64_t layer, int64_t kv_head, Head& head,
                                  KvCache& cache) const {
  const int64_t entries = static_cast<int64_t>(head.scores.size());
  const int64_t excess = entries - options_.budget_tokens;
  if (excess <= 0) return absl::OkStatus();
  if (excess == 1) {
    int64_t lowest = 0;
    for (int64_t i = 1; i < entries; ++i) {
      if (StaysLonger(head, lowest, i)) lowest = i;
    }
    RETURN_IF_ERROR(cache.Remove(layer, kv_head, lowest));
    head.scores[lowest] = head.scores.back();
    head.scores.pop_back();
    head.positions[lowest] = head.positions.back();
    head.positions.pop_back();
    return absl::OkStatus();
  }
  std::vector<int64_t> kept(entries);
  std::iota(kept.begin(), kept.end(), 0);
  std::nth_element(kept.begin(), kept.begin() + options_.budget_tokens, kept.end(),
                   [&](int64_t a, int64_t b) { return StaysLonger(head, a, b); });
  kept.resize(options_.budget_tokens);
  std::sort(kept.begin(), kept.end());
  RETURN_IF_ERROR(cache.Keep(layer, kv_head, at::tensor(kept, at::kLong)));
  Head left;
  for (const int64_t entry : kept) {
    left.scores.push_back(head.scores[entry]);
    left.positions.push_back(head.positions[entry]);
  }
  head = std::move(left);
  return absl::OkStatus();
}

}  // namespace kvp

#include "trainer/held_out_evaluator.h"

#include <algorithm>
#include <utility>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "policy/seeded_random.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Contexts that are read together.
constexpr int64_t kContextsOfPortion = 8;

std::vector<Context> Spread(const std::vector<Context>& contexts, int64_t count) {
  const int64_t all = static_cast<int64_t>(contexts.size());
  if (count <= 0 || count >= all) return contexts;
  std::vector<Context> chosen;
  for (int64_t i = 0; i < count; ++i) chosen.push_back(contexts[i * all / count]);
  return chosen;
}

uint64_t SeedOf(const TraceId& id) {
  uint64_t first = 0;
  uint64_t second = 0;
  for (size_t i = 0; i < 8; ++i) {
    first = first << 8 | id[i];
    second = second << 8 | id[i + 8];
  }
  return MixSeed({first, second});
}

}  // namespace

HeldOutEvaluator::HeldOutEvaluator(TraceReader* reader, const TraceSet* traces, int64_t count,
                                   const ProcessGrid& grid, TraceCache* cache,
                                   FetchThreads* threads, const Prefetcher::Options& options)
    : traces_(traces), groups_(grid.groups), contexts_(Spread(traces->contexts(), count)) {
  for (size_t i = grid.replica; i < contexts_.size(); i += grid.replicas) {
    own_contexts_.push_back(contexts_[i]);
  }
  const int64_t own = static_cast<int64_t>(own_contexts_.size());
  portions_of_group_ = std::max<int64_t>(1, (own + kContextsOfPortion - 1) / kContextsOfPortion);
  prefetcher_ = std::make_unique<Prefetcher>(
      reader, traces, groups_, [this](int64_t number) { return PortionOf(number); }, 0, cache,
      threads, options);
}

// Evaluation after evaluation, the same.
Portion HeldOutEvaluator::PortionOf(int64_t number) const {
  const int64_t portions = portions_of_group_ * static_cast<int64_t>(groups_.size());
  const int64_t own = static_cast<int64_t>(own_contexts_.size());
  Portion portion;
  portion.group = number % portions / portions_of_group_;
  const int64_t begin = number % portions_of_group_ * kContextsOfPortion;
  const int64_t end = std::min(own, begin + kContextsOfPortion);
  for (int64_t i = begin; i < end; ++i) portion.contexts.push_back(own_contexts_[i]);
  return portion;
}

template <typename Measure>
absl::StatusOr<std::vector<at::Tensor>> HeldOutEvaluator::ForAll(
    absl::Span<const std::unique_ptr<GroupTrainer>> groups, Measure measure) {
  std::vector<at::Tensor> sums(groups.size());
  for (size_t group = 0; group < groups.size(); ++group) {
    for (int64_t i = 0; i < portions_of_group_; ++i) {
      ASSIGN_OR_RETURN(const LoadedPortion loaded, prefetcher_->Next());
      std::vector<ContextTensors> contexts;
      for (size_t context = 0; context < loaded.tensors.size(); ++context) {
        contexts.push_back(loaded.Load(context, groups[group]->device()));
      }
      const at::Tensor sum = measure(*groups[group], loaded.portion, contexts);
      sums[group] = sums[group].defined() ? sums[group] + sum : sum;
    }
  }
  return sums;
}

absl::StatusOr<std::vector<at::Tensor>> HeldOutEvaluator::MeasureAgents(
    absl::Span<const std::unique_ptr<GroupTrainer>> groups) {
  return ForAll(
      groups, [](const GroupTrainer& group, const Portion& portion,
                 const std::vector<ContextTensors>& contexts) { return group.Measure(contexts); });
}

absl::StatusOr<std::vector<at::Tensor>> HeldOutEvaluator::MeasurePolicies(
    absl::Span<const std::unique_ptr<GroupTrainer>> groups,
    absl::Span<const std::unique_ptr<Policy>> policies) {
  const at::NoGradGuard no_gradients;
  return ForAll(groups, [&](const GroupTrainer& group, const Portion& portion,
                            const std::vector<ContextTensors>& contexts) {
    PolicyInput input;
    for (int64_t head = group.heads().begin; head < group.heads().end; ++head) {
      input.heads.push_back(HeadId::FromIndex(head, traces_->model().kv_heads()));
    }
    const auto& frequencies = traces_->model().rope_frequencies();
    input.rope_frequencies.assign(frequencies.begin(), frequencies.end());
    std::vector<at::Tensor> sums(policies.size(), at::zeros_like(group.Measure({})));
    for (size_t i = 0; i < contexts.size(); ++i) {
      input.keys = contexts[i].keys.to(at::kCPU);
      input.values = contexts[i].values.to(at::kCPU);
      input.positions = at::arange(input.keys.size(1), at::kLong);
      input.sequence_seed = SeedOf(traces_->trace(portion.contexts[i].trace).id);
      for (size_t policy = 0; policy < policies.size(); ++policy) {
        const absl::StatusOr<at::Tensor> scores = policies[policy]->Score(input);
        if (!scores.ok()) continue;
        sums[policy] = sums[policy] + group.MeasureScores(*scores, contexts[i]);
      }
    }
    return policies.empty() ? at::zeros({group.heads().size(), 0}, at::kDouble) : at::cat(sums, 1);
  });
}

std::vector<std::unique_ptr<Policy>> HeuristicPolicies() {
  std::vector<std::unique_ptr<Policy>> policies;
  for (const PolicyInfo& info : Policies()) {
    if (!info.reads_entries_only() || !info.file.empty()) continue;
    absl::StatusOr<std::unique_ptr<Policy>> policy = MakePolicy(info.name);
    if (policy.ok()) policies.push_back(*std::move(policy));
  }
  return policies;
}

}  // namespace kvp

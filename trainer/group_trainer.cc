#include "trainer/group_trainer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "policy/plackett_luce.h"
#include "policy/seeded_random.h"
#include "policy/selection.h"

namespace kvp {
namespace {

// Names what a number is drawn for, beside the seed.
enum RandomUse : uint64_t { kEntries = 1, kRankings = 2 };

std::vector<int64_t> Budgets(const std::vector<double>& shares, int64_t entries) {
  std::vector<int64_t> budgets;
  for (const double share : shares) budgets.push_back(BudgetTokens(share, entries).value_or(1));
  return budgets;
}

}  // namespace

GroupTrainer::GroupTrainer(const Options& options, HeadRange heads, const Objective* objective)
    : options_(options), heads_(heads), objective_(objective) {
  std::vector<at::Tensor> flat;
  for (const auto& [name, tensor] :
       InitialParameters(options_.shape, heads.begin, heads.size(), options_.seed)) {
    flat.push_back(tensor.flatten(1));
  }
  parameters_ = at::cat(flat, 1);
  optimizer_ = std::make_unique<StackedAdamW>(options_.optimizer, parameters_);
  kept_parameters_ = parameters_.clone();
  kept_metrics_.cost =
      at::full({heads.size()}, std::numeric_limits<double>::infinity(), at::kDouble);
  kept_metrics_.retained =
      at::zeros({heads.size(), static_cast<int64_t>(options_.budgets.size())}, at::kDouble);
}

AgentParameters GroupTrainer::Views(const at::Tensor& flat) const {
  AgentParameters views;
  int64_t offset = 0;
  for (const auto& [name, dimensions] : ParameterShapes(options_.shape)) {
    int64_t size = 1;
    for (const int64_t dimension : dimensions) size *= dimension;
    std::vector<int64_t> stacked = {flat.size(0)};
    stacked.insert(stacked.end(), dimensions.begin(), dimensions.end());
    views[name] = flat.narrow(1, offset, size).view(stacked);
    offset += size;
  }
  return views;
}

GroupTrainer::StepResult GroupTrainer::Step(int64_t step, const Dataset& dataset, int64_t group,
                                            absl::Span<const Context> contexts) {
  AgentParameters parameters = Views(parameters_);
  for (auto& [name, tensor] : parameters) tensor = tensor.detach().requires_grad_(true);
  StepResult result;
  result.loss = at::zeros({heads_.size()}, at::kDouble);
  // Context by context: one context's activations stay in the processor's cache, and none is
  // padded.
  for (size_t number = 0; number < contexts.size(); ++number) {
    ContextTensors context = dataset.Load(contexts[number], group);
    ObjectiveInput input;
    input.entries = contexts[number].cut;
    input.oracle_cost = OracleReward(context.importance).neg();
    at::Tensor positions = at::arange(input.entries, at::kLong);
    if (options_.sampled_entries > 0 && options_.sampled_entries < input.entries) {
      positions = at::tensor(
          SeededSubset(input.entries, options_.sampled_entries,
                       MixSeed({options_.seed, kEntries, static_cast<uint64_t>(step), number})),
          at::kLong);
      context.keys = context.keys.index_select(1, positions);
      context.values = context.values.index_select(1, positions);
      context.importance = context.importance.index_select(1, positions);
    }
    const at::Tensor scores =
        AgentScores(options_.shape, parameters, context.keys, context.values, positions);
    input.scores = scores.detach();
    input.importance = context.importance;
    for (int64_t head = heads_.begin; head < heads_.end; ++head) {
      input.seeds.push_back(MixSeed({options_.seed, kRankings, static_cast<uint64_t>(head),
                                     static_cast<uint64_t>(step), number}));
    }
    const ObjectiveResult objective = objective_->Evaluate(input);
    result.loss += objective.loss;
    scores.backward(objective.gradient / static_cast<double>(contexts.size()));
  }
  result.loss /= static_cast<double>(contexts.size());
  std::vector<at::Tensor> gradients;
  for (const auto& [name, tensor] : parameters) gradients.push_back(tensor.grad().flatten(1));
  result.gradient_norm = optimizer_->Step(step, at::cat(gradients, 1));
  return result;
}

GroupMetrics GroupTrainer::Evaluate(const Dataset& dataset, int64_t group,
                                    absl::Span<const Context> contexts) {
  const at::NoGradGuard no_gradients;
  const AgentParameters parameters = Views(optimizer_->average());
  GroupMetrics metrics;
  metrics.cost = at::zeros_like(kept_metrics_.cost);
  metrics.retained = at::zeros_like(kept_metrics_.retained);
  for (const Context& context : contexts) {
    const ContextTensors tensors = dataset.Load(context, group);
    const at::Tensor scores = AgentScores(options_.shape, parameters, tensors.keys, tensors.values,
                                          at::arange(context.cut, at::kLong));
    const at::Tensor rankings = Ranking(scores, {/*sinks=*/0, /*recent=*/0});
    metrics.cost += RankingCost(rankings, tensors.importance);
    metrics.retained +=
        RetainedMass(rankings, tensors.importance, Budgets(options_.budgets, context.cut));
  }
  metrics.cost /= static_cast<double>(contexts.size());
  metrics.retained /= static_cast<double>(contexts.size());
  const at::Tensor better =
      options_.keep_best ? metrics.cost < kept_metrics_.cost : at::isfinite(metrics.cost);
  kept_metrics_.cost = at::where(better, metrics.cost, kept_metrics_.cost);
  kept_metrics_.retained = at::where(better.unsqueeze(1), metrics.retained, kept_metrics_.retained);
  kept_parameters_ = at::where(better.unsqueeze(1), optimizer_->average(), kept_parameters_);
  return metrics;
}

at::Tensor GroupTrainer::stopped() const { return optimizer_->active().logical_not(); }

AgentParameters GroupTrainer::kept_parameters() const {
  AgentParameters parameters = Views(kept_parameters_);
  for (auto& [name, tensor] : parameters) tensor = tensor.contiguous();
  return parameters;
}

}  // namespace kvp

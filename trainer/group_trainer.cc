#include "trainer/group_trainer.h"

#include <limits>
#include <string>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "policy/plackett_luce.h"
#include "policy/selection.h"

namespace kvp {
namespace {

std::string ShapeText(const at::Tensor& tensor) {
  return absl::StrCat(at::toString(tensor.scalar_type()), " [", absl::StrJoin(tensor.sizes(), ", "),
                      "]");
}

}  // namespace

GroupTrainer::GroupTrainer(const Options& options, HeadRange heads, const Objective* objective,
                           at::Device device)
    : options_(options), heads_(heads), objective_(objective), divergence_(heads.size()) {
  std::vector<at::Tensor> flat;
  for (const auto& [name, tensor] : InitialParameters(options_.gradient.shape, heads.begin,
                                                      heads.size(), options_.gradient.seed)) {
    flat.push_back(tensor.flatten(1));
  }
  parameters_ = at::cat(flat, 1).to(device);
  optimizer_ = std::make_unique<StackedAdamW>(options_.optimizer, parameters_);
  kept_parameters_ = parameters_.clone();
  kept_metrics_.cost =
      at::full({heads.size()}, std::numeric_limits<double>::infinity(), at::kDouble);
  kept_metrics_.retained =
      at::zeros({heads.size(), static_cast<int64_t>(options_.budgets.size())}, at::kDouble);
  kept_steps_ = at::zeros({heads.size()}, at::kLong);
}

std::vector<int64_t> GroupTrainer::Budgets(int64_t entries) const {
  std::vector<int64_t> budgets;
  for (const double share : options_.budgets) {
    budgets.push_back(BudgetTokens(share, entries).value_or(1));
  }
  return budgets;
}

BatchGradient GroupTrainer::Gradient(int64_t step, absl::Span<const BatchContext> contexts,
                                     int64_t batch) {
  return ComputeBatchGradient(options_.gradient, heads_, *objective_, parameters_, step, contexts,
                              batch);
}

GroupTrainer::StepResult GroupTrainer::Apply(int64_t step, const BatchGradient& gradient) {
  const at::Tensor before = stopped();
  StepResult result;
  result.gradient_norm = optimizer_->Step(step, gradient.gradient).to(at::kCPU);
  const at::Tensor diverged = divergence_.Update(gradient.loss);
  result.ended = stopped().logical_or(diverged).logical_and(before.logical_not());
  if (result.ended.any().item<bool>()) {
    optimizer_->Stop(result.ended.to(device()), kept_parameters_);
  }
  return result;
}

at::Tensor GroupTrainer::MeasureScores(const at::Tensor& scores,
                                       const ContextTensors& context) const {
  const at::Tensor& importance = context.importance;
  const at::Tensor rankings = Ranking(scores, {/*sinks=*/0, /*recent=*/0});
  const at::Tensor counted = context.whole.to(at::kDouble).unsqueeze(1);
  const at::Tensor values =
      at::cat({RankingCost(rankings, importance).unsqueeze(1),
               RetainedMass(rankings, importance, Budgets(importance.size(1))),
               at::ones({heads_.size(), 1}, at::kDouble)},
              1);
  return at::where(counted > 0, values, at::zeros_like(values));
}

at::Tensor GroupTrainer::Measure(absl::Span<const ContextTensors> contexts) const {
  const at::NoGradGuard no_gradients;
  const AgentParameters parameters = ParameterViews(options_.gradient.shape, optimizer_->average());
  at::Tensor sums =
      at::zeros({heads_.size(), 2 + static_cast<int64_t>(options_.budgets.size())}, at::kDouble);
  for (const ContextTensors& context : contexts) {
    const at::Tensor positions =
        at::arange(context.keys.size(1), context.keys.options().dtype(at::kLong));
    const at::Tensor scores =
        AgentScores(options_.gradient.shape, parameters, context.keys, context.values, positions);
    sums += MeasureScores(scores.to(at::kCPU), context);
  }
  return sums;
}

GroupMetrics GroupTrainer::Means(const at::Tensor& sums) {
  const int64_t budgets = sums.size(1) - 2;
  const at::Tensor means = sums / sums.narrow(1, budgets + 1, 1);
  return {means.select(1, 0), means.narrow(1, 1, budgets)};
}

void GroupTrainer::Keep(int64_t step, const GroupMetrics& metrics) {
  const at::Tensor better =
      options_.keep_best ? metrics.cost < kept_metrics_.cost : at::isfinite(metrics.cost);
  const at::Tensor rows = better.unsqueeze(1);
  kept_metrics_.cost = at::where(better, metrics.cost, kept_metrics_.cost);
  kept_metrics_.retained = at::where(rows, metrics.retained, kept_metrics_.retained);
  kept_steps_ = at::where(better, at::full_like(kept_steps_, step), kept_steps_);
  kept_parameters_ = at::where(rows.to(device()), optimizer_->average(), kept_parameters_);
}

at::Tensor GroupTrainer::stopped() const { return optimizer_->active().logical_not().to(at::kCPU); }

AgentParameters GroupTrainer::kept_parameters() const {
  AgentParameters parameters =
      ParameterViews(options_.gradient.shape, kept_parameters_.to(at::kCPU));
  for (auto& [name, tensor] : parameters) tensor = tensor.contiguous();
  return parameters;
}

NamedTensors GroupTrainer::LiveState() const {
  NamedTensors state = {{"parameters", parameters_},
                        {"kept.parameters", kept_parameters_},
                        {"kept.cost", kept_metrics_.cost},
                        {"kept.retained", kept_metrics_.retained},
                        {"kept.steps", kept_steps_}};
  for (const auto& [name, tensor] : optimizer_->state()) state["optimizer." + name] = tensor;
  for (const auto& [name, tensor] : divergence_.state()) state["divergence." + name] = tensor;
  return state;
}

NamedTensors GroupTrainer::State() const {
  NamedTensors state = LiveState();
  for (auto& [name, tensor] : state) tensor = tensor.to(at::kCPU);
  return state;
}

absl::Status GroupTrainer::Restore(const NamedTensors& state) {
  const at::NoGradGuard no_gradients;
  NamedTensors live = LiveState();
  for (const auto& [name, tensor] : live) {
    const auto found = state.find(name);
    if (found == state.end()) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is missing"));
    }
    if (found->second.sizes() != tensor.sizes() ||
        found->second.scalar_type() != tensor.scalar_type()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", name, " is ", ShapeText(found->second), ", not ", ShapeText(tensor)));
    }
  }
  // In place: parameters and moving average are shared with the optimiser.
  for (auto& [name, tensor] : live) tensor.copy_(state.at(name));
  return absl::OkStatus();
}

}  // namespace kvp

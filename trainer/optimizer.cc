#include "trainer/optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"

namespace kvp {
namespace {

constexpr double kPi = 3.14159265358979323846;

}  // namespace

absl::Status OptimizerOptions::Validate() const {
  const auto invalid = [](absl::string_view field, double value, absl::string_view range) {
    return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", not ", range));
  };
  if (!(learning_rate > 0)) return invalid("learning_rate", learning_rate, "above 0");
  if (!(weight_decay >= 0)) return invalid("weight_decay", weight_decay, "0 or more");
  if (!(clip_norm > 0)) return invalid("clip_norm", clip_norm, "above 0");
  if (steps < 1) return invalid("steps", static_cast<double>(steps), "1 or more");
  if (warmup_steps < 0)
    return invalid("warmup_steps", static_cast<double>(warmup_steps), "0 or more");
  if (!(final_rate_share >= 0 && final_rate_share <= 1)) {
    return invalid("final_learning_rate", final_rate_share * learning_rate,
                   "between 0 and learning_rate");
  }
  if (!(ema_decay >= 0 && ema_decay < 1)) return invalid("ema_decay", ema_decay, "in [0, 1)");
  return absl::OkStatus();
}

double LearningRate(const OptimizerOptions& options, int64_t step) {
  if (step < options.warmup_steps) {
    return options.learning_rate * static_cast<double>(step + 1) /
           static_cast<double>(options.warmup_steps);
  }
  const double done =
      static_cast<double>(step - options.warmup_steps) /
      static_cast<double>(std::max<int64_t>(1, options.steps - options.warmup_steps));
  const double cosine = (1 + std::cos(kPi * std::min(1.0, done))) / 2;
  return options.learning_rate *
         (options.final_rate_share + (1 - options.final_rate_share) * cosine);
}

StackedAdamW::StackedAdamW(const OptimizerOptions& options, at::Tensor parameters)
    : options_(options),
      parameters_(std::move(parameters)),
      mean_(at::zeros_like(parameters_)),
      square_(at::zeros_like(parameters_)),
      average_(parameters_.clone()),
      active_(at::ones({parameters_.size(0)}, parameters_.options().dtype(at::kBool))) {}

at::Tensor StackedAdamW::Step(int64_t step, const at::Tensor& gradients) {
  const at::NoGradGuard no_gradients;
  const at::Tensor norms = gradients.norm(2, {1});
  active_ = active_.logical_and(norms.isfinite());
  const at::Tensor active = active_.unsqueeze(1);
  const at::Tensor shrink = (options_.clip_norm / norms.clamp_min(options_.clip_norm)).unsqueeze(1);
  const at::Tensor clipped = at::where(active, gradients * shrink, at::zeros_like(gradients));
  mean_.mul_(options_.beta1).add_(clipped, 1 - options_.beta1);
  square_.mul_(options_.beta2).addcmul_(clipped, clipped, 1 - options_.beta2);
  const double number = static_cast<double>(step + 1);
  const double mean_correction = 1 - std::pow(options_.beta1, number);
  const double square_correction = 1 - std::pow(options_.beta2, number);
  const double rate = LearningRate(options_, step);
  const at::Tensor change = (mean_ / mean_correction)
                                .div_((square_ / square_correction).sqrt_().add_(options_.epsilon))
                                .add_(parameters_, options_.weight_decay)
                                .mul_(active);
  parameters_.sub_(change, rate);
  const double decay = std::min(options_.ema_decay, number / (number + 9));
  average_.lerp_(parameters_, 1 - decay);
  return norms;
}

void StackedAdamW::Stop(const at::Tensor& heads, const at::Tensor& last) {
  const at::NoGradGuard no_gradients;
  active_ = active_.logical_and(heads.logical_not());
  const at::Tensor rows = heads.unsqueeze(1);
  parameters_.copy_(at::where(rows, last, parameters_));
  average_.copy_(at::where(rows, last, average_));
}

NamedTensors StackedAdamW::state() const {
  return {{"mean", mean_}, {"square", square_}, {"average", average_}, {"active", active_}};
}

}  // namespace kvp

#include "trainer/training_reporter.h"

#include <algorithm>
#include <cmath>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/optimizer.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr double kSmallestSeconds = 1e-9;

// JSON has no infinities.
nlohmann::json Number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

// "12.3 M".
std::string Thousands(double value) {
  for (const auto& [unit, size] : {std::pair("G", 1e9), std::pair("M", 1e6), std::pair("k", 1e3)}) {
    if (value >= size) return absl::StrFormat("%.1f %s", value / size, unit);
  }
  return absl::StrFormat("%.0f ", value);
}

}  // namespace

TrainingReporter::TrainingReporter(const TrainingOptions& options, int64_t kv_heads,
                                   int64_t first_step)
    : options_(options),
      kv_heads_(kv_heads),
      first_step_(first_step),
      progress_("steps", options.group.optimizer.steps) {
  last_.done = first_step;
}

absl::Status TrainingReporter::Open() {
  if (options_.metrics_path.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(log_, StepLog::Open(options_.metrics_path, first_step_));
  return absl::OkStatus();
}

double TrainingReporter::StepsPerSecond() const {
  return static_cast<double>(last_.done - first_step_) / std::max(kSmallestSeconds, Seconds());
}

double TrainingReporter::WaitingShare() const {
  return absl::ToDoubleSeconds(last_.waited) / std::max(kSmallestSeconds, Seconds());
}

std::string TrainingReporter::Detail() const {
  std::string detail = absl::StrFormat("loss %.4f", last_.loss);
  const auto cost = last_evaluation_.find("held_out_cost");
  if (cost != last_evaluation_.end() && cost->is_number()) {
    absl::StrAppendFormat(&detail, ", held-out cost %.4f", cost->get<double>());
  }
  const double rate = StepsPerSecond();
  absl::StrAppendFormat(
      &detail, ", %.2f steps/s, %stoken·heads/s, %.1f %% waiting for data, %.0f s to go", rate,
      Thousands(static_cast<double>(token_heads_) / std::max(kSmallestSeconds, Seconds())),
      100 * WaitingShare(),
      static_cast<double>(options_.group.optimizer.steps - last_.done) /
          std::max(kSmallestSeconds, rate));
  return detail;
}

void TrainingReporter::StepDone(const Step& step) {
  const TrainerMetrics& metrics = options_.metrics;
  metrics.steps.Add();
  metrics.contexts.Add(static_cast<double>(step.contexts));
  metrics.token_heads.Add(static_cast<double>(step.token_heads));
  metrics.waiting_seconds.Add(absl::ToDoubleSeconds(step.waited - last_.waited));
  metrics.read_bytes.Add(static_cast<double>(step.read_bytes - last_.read_bytes));
  metrics.step.Set(static_cast<double>(step.done));
  metrics.loss.Set(step.loss);
  metrics.incomplete.Set(static_cast<double>(step.incomplete));
  metrics.cache_bytes.Set(static_cast<double>(step.cache_bytes));
  if (step.incomplete > last_.incomplete) {
    LogWarning(absl::StrCat(step.incomplete,
                            " traces of rank 0's heads lack blocks and are left out for them"));
  }
  last_ = step;
  token_heads_ += step.token_heads;
  token_heads_of_steps_.push_back(step.token_heads);
  if (step.done < options_.group.optimizer.steps) progress_.Update(step.done, Detail());
}

void TrainingReporter::Evaluated(const EvaluationSummary& summary) {
  std::string retained_text;
  for (const double share : summary.retained) absl::StrAppendFormat(&retained_text, " %.3f", share);
  LogInfo(absl::StrFormat(
      "step %d: held-out cost %.4f, worst %.4f (%s), retained mass%s at the budgets", summary.step,
      summary.held_out_cost, summary.worst_cost, HeadName(summary.worst_head, kv_heads_),
      retained_text));
  options_.metrics.held_out_cost.Set(summary.held_out_cost);
  options_.metrics.held_out_cost_worst.Set(summary.worst_cost);
  last_evaluation_ = {{"step", summary.step},
                      {"held_out_cost", summary.held_out_cost},
                      {"held_out_cost_worst", summary.worst_cost},
                      {"held_out_worst_head", summary.worst_head},
                      {"retained", summary.retained}};
}

void TrainingReporter::CheckpointSaved(int64_t step, absl::Duration taken) {
  options_.metrics.checkpoints.Add();
  options_.metrics.checkpoint_seconds.Set(absl::ToDoubleSeconds(taken));
  LogInfo(
      absl::StrFormat("step %d: checkpoint written in %.2f s", step, absl::ToDoubleSeconds(taken)));
}

absl::Status TrainingReporter::WriteSteps(int64_t step, const std::vector<at::Tensor>& rows,
                                          int64_t stopped_heads) {
  options_.metrics.stopped_heads.Set(static_cast<double>(stopped_heads));
  const int64_t count = static_cast<int64_t>(rows.size()) / 2;
  const std::vector<int64_t> token_heads = std::move(token_heads_of_steps_);
  token_heads_of_steps_.clear();
  if (log_ == nullptr) return absl::OkStatus();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t number = step - count + i;
    const at::Tensor& losses = rows[2 * i];
    nlohmann::json line = {{"step", number + 1},
                           {"loss", Number(MeanOfFinite(losses))},
                           {"loss_worst", Number(losses.max().item<double>())},
                           {"gradient_norm", Number(MeanOfFinite(rows[2 * i + 1]))},
                           {"learning_rate", LearningRate(options_.group.optimizer, number)},
                           {"token_heads", token_heads[i]}};
    if (number + 1 == step) {
      line["steps_per_second"] = StepsPerSecond();
      line["token_heads_per_second"] =
          static_cast<double>(token_heads_) / std::max(kSmallestSeconds, Seconds());
      line["data_wait_share"] = WaitingShare();
      line["stopped_heads"] = stopped_heads;
      const auto evaluated = last_evaluation_.find("step");
      if (evaluated != last_evaluation_.end() && *evaluated == step) line.update(last_evaluation_);
    }
    log_->Add(line);
  }
  return log_->Flush();
}

void TrainingReporter::Finish() { progress_.Finish(last_.done, Detail()); }

void TrainingReporter::Restore(const nlohmann::json& state) {
  const auto evaluation = state.find("last_evaluation");
  if (evaluation != state.end() && evaluation->is_object()) last_evaluation_ = *evaluation;
}

}  // namespace kvp

#include "trainer/training_run.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <numeric>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "policy/seeded_random.h"
#include "util/logging.h"
#include "util/progress.h"
#include "util/sha256.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

// Ranks ask one another this often whether to stop: rarely enough to cost nothing, soon enough for
// who waits.
constexpr int64_t kStepsBetweenStops = 5;
constexpr uint64_t kOrderOfContexts = 3;

// fp64 [heads, columns] of all ranks' heads, in order; undefined but on rank 0.
at::Tensor GatherRows(Communicator& communicator, const at::Tensor& rows) {
  const std::vector<std::string> parts =
      communicator.Gather(BytesOfTensor(rows.to(at::kDouble).contiguous()));
  if (communicator.rank() != 0) return {};
  std::string all;
  for (const std::string& part : parts) all += part;
  const int64_t columns = rows.size(1);
  const int64_t heads =
      static_cast<int64_t>(all.size() / sizeof(double)) / std::max<int64_t>(1, columns);
  return TensorFromBytes(all, at::kDouble, {heads, columns}).value();
}

std::vector<Context> Spread(const std::vector<Context>& contexts, int64_t count) {
  const int64_t all = static_cast<int64_t>(contexts.size());
  if (count <= 0 || count >= all) return contexts;
  std::vector<Context> chosen;
  for (int64_t i = 0; i < count; ++i) chosen.push_back(contexts[i * all / count]);
  return chosen;
}

std::string HeadName(int64_t head, int64_t kv_heads) {
  return absl::StrCat("layer ", head / kv_heads, ", KV head ", head % kv_heads);
}

class TrainingRun {
 public:
  TrainingRun(const TrainingOptions& options, const Dataset& train, const Dataset& held_out,
              Communicator& communicator, const std::atomic<bool>& stop)
      : options_(options),
        train_(train),
        held_out_(held_out),
        communicator_(communicator),
        stop_(stop),
        kv_heads_(train.records()[0].model().kv_heads()),
        eval_contexts_(Spread(held_out.contexts(), options.eval_contexts)) {}

  absl::StatusOr<TrainingResult> Run() {
    ASSIGN_OR_RETURN(objective_, MakeObjective(options_.objective));
    for (const HeadRange group : train_.groups()) {
      groups_.push_back(std::make_unique<GroupTrainer>(options_.group, group, objective_.get()));
      heads_ += group.size();
    }
    RETURN_IF_ERROR(communicator_.Agree(OpenMetrics()));
    const int64_t steps = options_.group.optimizer.steps;
    Progress progress("steps", steps);
    begin_ = absl::Now();
    int64_t step = 0;
    while (step < steps) {
      StepGroups(step);
      ++step;
      const bool stopping = step % kStepsBetweenStops == 0 && step < steps && AnyRankStops();
      if (step % options_.eval_every == 0 || step == steps || stopping) {
        Evaluate(step);
        RETURN_IF_ERROR(communicator_.Agree(WriteMetrics(step)));
      }
      if (communicator_.rank() == 0 && step < steps) progress.Update(step, Detail(step));
      if (stopping) {
        if (communicator_.rank() == 0) {
          LogWarning(absl::StrCat("asked to stop: writing what ", step, " of ", steps,
                                  " steps have made"));
        }
        break;
      }
    }
    if (communicator_.rank() == 0) progress.Finish(step, Detail(step));
    return Result(step);
  }

 private:
  double Seconds() const { return absl::ToDoubleSeconds(absl::Now() - begin_); }

  void StepGroups(int64_t step) {
    const std::vector<Context> batch =
        BatchOfStep(train_.contexts(), options_.batch, step, options_.group.seed);
    std::vector<at::Tensor> columns;
    double loss = 0;
    for (size_t group = 0; group < groups_.size(); ++group) {
      const at::Tensor stopped_before = groups_[group]->stopped();
      const GroupTrainer::StepResult result =
          groups_[group]->Step(step, train_, static_cast<int64_t>(group), batch);
      ReportStopped(*groups_[group], stopped_before, step);
      columns.push_back(at::stack({result.loss, result.gradient_norm.to(at::kDouble)}, 1));
      loss += result.loss.sum().item<double>();
    }
    own_loss_ = heads_ > 0 ? loss / static_cast<double>(heads_) : 0;
    // Two columns a step, for the metrics file.
    pending_.push_back(columns.empty() ? at::zeros({0, 2}, at::kDouble) : at::cat(columns));
  }

  void ReportStopped(const GroupTrainer& group, const at::Tensor& before, int64_t step) {
    const at::Tensor now = group.stopped().logical_and(before.logical_not());
    for (int64_t row = 0; row < now.size(0); ++row) {
      if (!now[row].item<bool>()) continue;
      LogWarning(absl::StrCat(HeadName(group.heads().begin + row, kv_heads_),
                              ": the gradient of step ", step + 1,
                              " isn't finite; this head is trained no further"));
    }
  }

  bool AnyRankStops() {
    return communicator_.Minimum({static_cast<uint8_t>(stop_.load() ? 0 : 1)})[0] == 0;
  }

  void Evaluate(int64_t step) {
    std::vector<at::Tensor> rows;
    for (size_t group = 0; group < groups_.size(); ++group) {
      const GroupMetrics metrics =
          groups_[group]->Evaluate(held_out_, static_cast<int64_t>(group), eval_contexts_);
      rows.push_back(at::cat({metrics.cost.unsqueeze(1), metrics.retained}, 1));
    }
    const at::Tensor all = GatherRows(communicator_, StackRows(rows, MetricColumns()));
    if (communicator_.rank() != 0) return;
    const at::Tensor costs = all.select(1, 0);
    const at::Tensor means = all.mean(0);
    const int64_t worst = costs.argmax().item<int64_t>();
    held_out_cost_ = means[0].item<double>();
    std::string retained;
    for (size_t b = 0; b < options_.group.budgets.size(); ++b) {
      absl::StrAppendFormat(&retained, " %.3f", means[static_cast<int64_t>(b) + 1].item<double>());
    }
    LogInfo(absl::StrFormat(
        "step %d: held-out cost %.4f, worst %.4f (%s), retained mass%s at the budgets", step,
        held_out_cost_, costs[worst].item<double>(), HeadName(worst, kv_heads_), retained));
    last_evaluation_ = {{"step", step},
                        {"held_out_cost", held_out_cost_},
                        {"held_out_cost_worst", costs[worst].item<double>()}};
    evaluated_ = true;
  }

  int64_t MetricColumns() const { return 1 + static_cast<int64_t>(options_.group.budgets.size()); }

  static at::Tensor StackRows(const std::vector<at::Tensor>& rows, int64_t columns) {
    return rows.empty() ? at::zeros({0, columns}, at::kDouble) : at::cat(rows);
  }

  std::string Detail(int64_t step) const {
    const double rate = static_cast<double>(step) / std::max(1e-9, Seconds());
    std::string detail = absl::StrFormat("loss %.4f", own_loss_);
    if (evaluated_) absl::StrAppendFormat(&detail, ", held-out cost %.4f", held_out_cost_);
    absl::StrAppendFormat(
        &detail, ", %.2f steps/s, %.0f s to go", rate,
        static_cast<double>(options_.group.optimizer.steps - step) / std::max(1e-9, rate));
    return detail;
  }

  absl::Status OpenMetrics() {
    if (communicator_.rank() != 0 || options_.metrics_path.empty()) return absl::OkStatus();
    metrics_.open(options_.metrics_path, std::ios::trunc);
    if (metrics_) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(options_.metrics_path, ": can't be created"));
  }

  // Collective: losses and norms of the steps since the last call, up to `step`.
  absl::Status WriteMetrics(int64_t step) {
    const int64_t count = static_cast<int64_t>(pending_.size());
    const at::Tensor all = GatherRows(communicator_, at::cat(pending_, 1));
    pending_.clear();
    if (communicator_.rank() != 0 || !metrics_.is_open()) return absl::OkStatus();
    for (int64_t i = 0; i < count; ++i) {
      const int64_t number = step - count + i;
      nlohmann::json line = {{"step", number + 1},
                             {"loss", all.select(1, 2 * i).mean().item<double>()},
                             {"gradient_norm", all.select(1, 2 * i + 1).mean().item<double>()},
                             {"learning_rate", LearningRate(options_.group.optimizer, number)}};
      if (number + 1 == step) line.update(last_evaluation_);
      metrics_ << line.dump() << "\n";
    }
    metrics_.flush();
    if (metrics_) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(options_.metrics_path, ": can't be written"));
  }

  // Collective.
  TrainingResult Result(int64_t steps) {
    TrainingResult result;
    result.steps = steps;
    result.training_seconds = Seconds();
    result.contexts_per_second =
        static_cast<double>(steps * options_.batch) / std::max(1e-9, result.training_seconds);
    std::vector<at::Tensor> rows;
    for (const auto& group : groups_) {
      rows.push_back(
          at::cat({group->kept_metrics().cost.unsqueeze(1), group->kept_metrics().retained,
                   group->stopped().to(at::kDouble).unsqueeze(1)},
                  1));
    }
    const int64_t columns = MetricColumns() + 1;
    const at::Tensor metrics = GatherRows(communicator_, StackRows(rows, columns));
    AgentParameters parameters;
    for (const auto& [name, dimensions] : ParameterShapes(options_.group.shape)) {
      std::string bytes;
      for (const auto& group : groups_) bytes += BytesOfTensor(group->kept_parameters().at(name));
      std::string all;
      for (const std::string& part : communicator_.Gather(bytes)) all += part;
      if (communicator_.rank() != 0) continue;
      std::vector<int64_t> stacked = {metrics.size(0)};
      stacked.insert(stacked.end(), dimensions.begin(), dimensions.end());
      parameters[name] = TensorFromBytes(all, at::kFloat, stacked).value();
    }
    if (communicator_.rank() != 0) return result;
    for (int64_t head = 0; head < metrics.size(0); ++head) {
      result.held_out_cost.push_back(metrics[head][0].item<double>());
      std::vector<double>& retained = result.retained.emplace_back();
      for (int64_t b = 1; b < MetricColumns(); ++b) {
        retained.push_back(metrics[head][b].item<double>());
      }
      if (metrics[head][columns - 1].item<double>() != 0) result.stopped_heads.push_back(head);
    }
    const ModelInfo& model = train_.records()[0].model();
    AgentFile& agents = result.agents;
    agents.shape = options_.group.shape;
    agents.parameters = std::move(parameters);
    agents.model_name = model.name();
    agents.model_fingerprint = model.fingerprint();
    agents.layers = model.layers();
    agents.kv_heads = model.kv_heads();
    agents.training_data_hash = TrainingDataHash(train_);
    agents.objective = options_.objective.name;
    agents.seed = options_.group.seed;
    agents.held_out_cost = metrics.select(1, 0).mean().item<double>();
    return result;
  }

  const TrainingOptions& options_;
  const Dataset& train_;
  const Dataset& held_out_;
  Communicator& communicator_;
  const std::atomic<bool>& stop_;
  const int64_t kv_heads_;
  const std::vector<Context> eval_contexts_;
  std::unique_ptr<Objective> objective_;
  std::vector<std::unique_ptr<GroupTrainer>> groups_;
  int64_t heads_ = 0;
  absl::Time begin_;
  double own_loss_ = 0;
  double held_out_cost_ = 0;
  bool evaluated_ = false;
  std::vector<at::Tensor> pending_;
  nlohmann::json last_evaluation_;
  std::ofstream metrics_;
};

}  // namespace

absl::Status TrainingOptions::Validate() const {
  RETURN_IF_ERROR(group.shape.Validate());
  RETURN_IF_ERROR(group.optimizer.Validate());
  RETURN_IF_ERROR(MakeObjective(objective).status());
  const auto at_least = [](absl::string_view field, int64_t value, int64_t least) {
    if (value >= least) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(field, " is ", value, ", not ", least, " or more"));
  };
  RETURN_IF_ERROR(at_least("batch", batch, 1));
  RETURN_IF_ERROR(at_least("eval_every", eval_every, 1));
  RETURN_IF_ERROR(at_least("eval_contexts", eval_contexts, 0));
  if (group.sampled_entries != 0) {
    RETURN_IF_ERROR(at_least("sampled_entries", group.sampled_entries, 2));
  }
  return absl::OkStatus();
}

std::vector<Context> BatchOfStep(const std::vector<Context>& contexts, int64_t batch, int64_t step,
                                 uint64_t seed) {
  const int64_t count = static_cast<int64_t>(contexts.size());
  std::vector<Context> result;
  int64_t shuffled_epoch = -1;
  std::vector<int64_t> order(count);
  for (int64_t i = step * batch; i < (step + 1) * batch; ++i) {
    const int64_t epoch = i / count;
    if (epoch != shuffled_epoch) {
      shuffled_epoch = epoch;
      std::iota(order.begin(), order.end(), 0);
      for (int64_t k = count - 1; k > 0; --k) {
        const uint64_t random = MixSeed(
            {seed, kOrderOfContexts, static_cast<uint64_t>(epoch), static_cast<uint64_t>(k)});
        std::swap(order[k], order[static_cast<int64_t>(random % static_cast<uint64_t>(k + 1))]);
      }
    }
    result.push_back(contexts[order[i % count]]);
  }
  return result;
}

std::string TrainingDataHash(const Dataset& train) {
  Sha256 hash;
  for (const TraceRecord& record : train.records()) hash.UpdateWithLength(record.trace_id());
  return hash.FinishHex();
}

absl::StatusOr<TrainingResult> Train(const TrainingOptions& options, const Dataset& train,
                                     const Dataset& held_out, Communicator& communicator,
                                     const std::atomic<bool>& stop) {
  return TrainingRun(options, train, held_out, communicator, stop).Run();
}

}  // namespace kvp

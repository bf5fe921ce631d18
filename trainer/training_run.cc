#include "trainer/training_run.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "trainer/batch_order.h"
#include "trainer/checkpoint.h"
#include "trainer/gather_rows.h"
#include "trainer/held_out_evaluator.h"
#include "trainer/process_grid.h"
#include "trainer/training_reporter.h"
#include "trainer/training_result.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Ranks ask one another about once a second, or after each of longer steps, whether to stop; but
// not more rarely than this.
constexpr int64_t kMostStepsBetweenTalks = 5;
constexpr double kSecondsBetweenTalks = 1;

enum TraceSetNumber : int32_t { kTrainTraces = 0, kHeldOutTraces = 1 };

class TrainingRun {
 public:
  TrainingRun(const TrainingOptions& options, TraceReader& reader, Communicator& communicator,
              const std::atomic<bool>& stop)
      : options_(options),
        reader_(reader),
        communicator_(communicator),
        stop_(stop),
        cache_(options.data.cache_bytes),
        threads_(options.data.fetch_threads) {}

  absl::StatusOr<TrainingResult> Run() {
    RETURN_IF_ERROR(Prepare());
    const int64_t steps = options_.group.optimizer.steps;
    bool stopping = false;
    while (step_ < steps && !stopping) {
      TakeStep();
      ++step_;
      ReportStep();
      bool checkpoint = checkpoints_ != nullptr && options_.checkpoint.every_steps > 0 &&
                        step_ % options_.checkpoint.every_steps == 0;
      if (step_ >= next_talk_ || step_ == steps) RETURN_IF_ERROR(Talk(&stopping, &checkpoint));
      stopping = stopping && step_ < steps;
      if (step_ % options_.eval_every == 0 || step_ == steps ||
          (stopping && checkpoints_ == nullptr)) {
        bool goes_on = true;
        RETURN_IF_ERROR(Evaluate(&goes_on));
        stopping = stopping || (!goes_on && step_ < steps);
      }
      if (checkpoints_ != nullptr && (checkpoint || stopping || step_ == steps)) {
        RETURN_IF_ERROR(SaveCheckpoint());
      }
    }
    if (reporter_ != nullptr) {
      reporter_->Finish();
      if (stopping) LogWarning(StoppedText());
    }
    return Result(stopping);
  }

 private:
  int64_t TotalHeads() const { return train_->heads(); }
  int64_t KvHeads() const { return train_->model().kv_heads(); }

  // Everything up to the first step.
  absl::Status Prepare() {
    ASSIGN_OR_RETURN(train_, TraceSet::List(reader_, options_.train_split, communicator_));
    ASSIGN_OR_RETURN(held_out_, TraceSet::List(reader_, options_.held_out_split, communicator_));
    if (train_->model().fingerprint() != held_out_->model().fingerprint()) {
      return absl::InvalidArgumentError(absl::StrCat(
          options_.train_split, " traces are of model ", train_->model().fingerprint(), ", ",
          options_.held_out_split, " ones of ", held_out_->model().fingerprint()));
    }
    ASSIGN_OR_RETURN(grid_, ProcessGrid::Make(communicator_.rank(), communicator_.size(),
                                              TotalHeads(), options_.group_size));
    replicas_ = communicator_.Split(grid_.part);
    ASSIGN_OR_RETURN(objective_, MakeObjective(options_.objective));
    GroupTrainer::Options group_options = options_.group;
    group_options.gradient.shape = ShapeFor(options_, train_->model());
    RETURN_IF_ERROR(group_options.gradient.shape.Validate());
    for (const TraceSet* traces : {&*train_, &*held_out_}) {
      for (const Context& context : traces->contexts()) {
        RETURN_IF_ERROR(group_options.gradient.shape.CheckPosition(context.cut - 1));
      }
    }
    for (const HeadRange group : grid_.groups) {
      groups_.push_back(
          std::make_unique<GroupTrainer>(group_options, group, objective_.get(), options_.device));
    }
    settings_ = AgentSettings(options_);
    settings_["model"] = train_->model().fingerprint();
    settings_["train_traces"] = absl::StrCat(train_->size(), " of hash ", train_->hash());
    settings_["held_out_traces"] = absl::StrCat(held_out_->size(), " of hash ", held_out_->hash());
    RETURN_IF_ERROR(Resume());
    RETURN_IF_ERROR(BeginReports());
    BeginReading();
    begin_ = last_talk_ = last_checkpoint_ = absl::Now();
    return absl::OkStatus();
  }

  absl::Status Resume() {
    if (options_.checkpoint.dir.empty()) return absl::OkStatus();
    checkpoints_ = std::make_unique<CheckpointFolder>(options_.checkpoint.dir, grid_.groups,
                                                      grid_.replica == 0, &communicator_);
    RETURN_IF_ERROR(checkpoints_->Begin(options_.checkpoint.resume));
    if (!options_.checkpoint.resume) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::optional<Checkpoint> checkpoint, checkpoints_->Load(settings_));
    if (!checkpoint.has_value()) return absl::OkStatus();
    absl::Status restored;
    for (const auto& group : groups_) {
      restored.Update(group->Restore(checkpoint->groups.at(group->heads().begin)));
    }
    RETURN_IF_ERROR(communicator_.Agree(restored));
    step_ = checkpoint->step;
    resumed_ = checkpoint->run;
    seconds_before_ = resumed_.value("seconds", 0.0);
    waiting_before_ = resumed_.value("waiting_seconds", 0.0);
    evaluation_seconds_ = resumed_.value("evaluation_seconds", 0.0);
    if (communicator_.rank() == 0) {
      LogInfo(absl::StrCat("going on after step ", step_, " of ", options_.checkpoint.dir));
    }
    return absl::OkStatus();
  }

  absl::Status BeginReports() {
    first_step_ = last_talk_step_ = step_;
    next_talk_ = step_ + 1;
    absl::Status status;
    if (communicator_.rank() == 0) {
      reporter_ = std::make_unique<TrainingReporter>(options_, KvHeads(), first_step_);
      reporter_->Restore(resumed_);
      status = reporter_->Open();
      LogInfo(absl::StrFormat(
          "%d traces to train on (%d contexts), %d held out; %d heads in groups of %d: %d parts "
          "of heads, %s",
          train_->size(), train_->contexts().size(), held_out_->size(), TotalHeads(),
          options_.group_size, grid_.parts,
          communicator_.size() == grid_.parts
              ? "one rank each"
              : absl::StrCat(communicator_.size(), " ranks, which share batches out")));
    }
    return communicator_.Agree(status);
  }

  void BeginReading() {
    // The evaluations come more rarely and have time to catch up.
    Prefetcher::Options reading;
    reading.set = kTrainTraces;
    reading.ahead_bytes = options_.data.prefetch_bytes / 4 * 3;
    order_ = std::make_unique<BatchOrder>(*train_, options_.batch, options_.group.gradient.seed);
    order_ahead_ =
        std::make_unique<BatchOrder>(*train_, options_.batch, options_.group.gradient.seed);
    training_data_ = std::make_unique<Prefetcher>(
        &reader_, &*train_, grid_.groups, [this](int64_t number) { return PortionOf(number); },
        step_ * static_cast<int64_t>(groups_.size()), &cache_, &threads_, reading);
    training_data_->ReadAhead();
    reading.set = kHeldOutTraces;
    reading.ahead_bytes = options_.data.prefetch_bytes / 4;
    evaluator_ = std::make_unique<HeldOutEvaluator>(&reader_, &*held_out_, options_.eval_contexts,
                                                    grid_, &cache_, &threads_, reading);
  }

  // This replica's share of a step's batch, for one group.
  Portion PortionOf(int64_t number) {
    const int64_t groups = static_cast<int64_t>(groups_.size());
    const int64_t step = number / groups;
    if (step != step_ahead_) {
      step_ahead_ = step;
      batch_ahead_ = order_ahead_->Batch(step);
    }
    Portion portion;
    portion.group = number % groups;
    for (size_t i = grid_.replica; i < batch_ahead_.size(); i += grid_.replicas) {
      portion.contexts.push_back(batch_ahead_[i]);
    }
    return portion;
  }

  // An error, of reading, is kept for the next talk: others may wait for this rank there.
  void TakeStep() {
    std::vector<BatchGradient> gradients(groups_.size());
    std::vector<at::Tensor> losses;
    std::vector<at::Tensor> norms;
    for (size_t group = 0; group < groups_.size(); ++group) {
      gradients[group] = GradientOf(group);
      if (grid_.replicas == 1) Apply(group, &gradients[group], &losses, &norms);
    }
    if (grid_.replicas > 1) {
      SumOverReplicas(gradients);
      for (size_t group = 0; group < groups_.size(); ++group) {
        Apply(group, &gradients[group], &losses, &norms);
      }
    }
    pending_.push_back(at::cat(losses));
    pending_.push_back(at::cat(norms));
  }

  BatchGradient GradientOf(size_t group) {
    std::vector<BatchContext> contexts;
    if (status_.ok()) {
      const absl::StatusOr<LoadedPortion> loaded = training_data_->Next();
      status_.Update(loaded.status());
      for (size_t i = 0; loaded.ok() && i < loaded->tensors.size(); ++i) {
        contexts.push_back({grid_.replica + static_cast<int64_t>(i) * grid_.replicas,
                            loaded->Load(i, options_.device)});
      }
    }
    return groups_[group]->Gradient(step_, contexts, options_.batch);
  }

  void Apply(size_t group, BatchGradient* gradient, std::vector<at::Tensor>* losses,
             std::vector<at::Tensor>* norms) {
    const GroupTrainer::StepResult result = groups_[group]->Apply(step_, *gradient);
    losses->push_back(gradient->loss);
    norms->push_back(result.gradient_norm.to(at::kDouble));
    *gradient = {};
    if (!result.ended.any().item<bool>()) return;
    for (int64_t row = 0; row < result.ended.size(0); ++row) {
      if (!result.ended[row].item<bool>()) continue;
      LogWarning(absl::StrFormat(
          "%s: its training has diverged at step %d (loss %g, gradient norm %g) and ends; its "
          "agent is the one of step %d",
          HeadName(groups_[group]->heads().begin + row, KvHeads()), step_ + 1,
          losses->back()[row].item<double>(), norms->back()[row].item<double>(),
          groups_[group]->kept_steps()[row].item<int64_t>()));
    }
  }

  // One reduction for all groups.
  void SumOverReplicas(std::vector<BatchGradient>& gradients) {
    std::vector<at::Tensor> pieces;
    for (const BatchGradient& gradient : gradients) {
      pieces.push_back(gradient.gradient.to(at::kCPU).flatten());
      pieces.push_back(gradient.loss.to(at::kFloat));
    }
    const at::Tensor fused = at::cat(pieces);
    replicas_->Sum(absl::MakeSpan(fused.data_ptr<float>(), fused.numel()));
    int64_t offset = 0;
    for (BatchGradient& gradient : gradients) {
      const int64_t size = gradient.gradient.numel();
      gradient.gradient = fused.narrow(0, offset, size)
                              .view(gradient.gradient.sizes())
                              .to(gradient.gradient.device());
      offset += size;
      const int64_t heads = gradient.loss.numel();
      gradient.loss = fused.narrow(0, offset, heads).to(at::kDouble);
      offset += heads;
    }
  }

  void ReportStep() {
    // By now the first traces of the evaluation have time.
    if (step_ == first_step_ + 1) evaluator_->ReadAhead();
    if (reporter_ == nullptr) return;
    TrainingReporter::Step report;
    report.done = step_;
    report.loss = MeanOfFinite(pending_[pending_.size() - 2]);
    report.contexts = options_.batch;
    const int64_t sampled = options_.group.gradient.sampled_entries;
    for (const Context& context : order_->Batch(step_ - 1)) {
      report.token_heads +=
          (sampled > 0 ? std::min(sampled, context.cut) : context.cut) * TotalHeads();
    }
    report.waited = Waited();
    report.read_bytes = training_data_->read_bytes() + evaluator_->prefetcher().read_bytes();
    report.incomplete = Incomplete();
    report.cache_bytes = cache_.bytes();
    reporter_->StepDone(report);
  }

  absl::Duration Waited() const {
    return training_data_->waited() + evaluator_->prefetcher().waited();
  }
  int64_t Incomplete() const {
    return training_data_->incomplete() + evaluator_->prefetcher().incomplete();
  }
  double Seconds() const { return seconds_before_ + absl::ToDoubleSeconds(absl::Now() - begin_); }

  // Collective: whether any rank was asked to stop, or the clock of rank 0 says that it's time for
  // a checkpoint; the first error of any rank.
  absl::Status Talk(bool* stopping, bool* checkpoint) {
    const absl::Time now = absl::Now();
    const bool due = communicator_.rank() == 0 && checkpoints_ != nullptr &&
                     options_.checkpoint.every > absl::ZeroDuration() &&
                     now - last_checkpoint_ >= options_.checkpoint.every;
    const int64_t steps = std::max<int64_t>(1, step_ - last_talk_step_);
    const double of_step = absl::ToDoubleSeconds(now - last_talk_) / static_cast<double>(steps);
    const double until_next = std::clamp<double>(kSecondsBetweenTalks / std::max(of_step, 1e-9), 1,
                                                 kMostStepsBetweenTalks);
    const std::vector<uint8_t> agreed = communicator_.Minimum(
        {static_cast<uint8_t>(!stop_.load()), static_cast<uint8_t>(!due),
         static_cast<uint8_t>(status_.ok()), static_cast<uint8_t>(until_next)});
    if (agreed[2] == 0) return communicator_.Agree(status_);
    *stopping = agreed[0] == 0;
    *checkpoint = *checkpoint || agreed[1] == 0;
    next_talk_ = step_ + agreed[3];
    last_talk_step_ = step_;
    last_talk_ = now;
    return absl::OkStatus();
  }

  // The sums of this rank's groups over all replicas, one below the other.
  absl::StatusOr<at::Tensor> SumsOfAllReplicas(absl::StatusOr<std::vector<at::Tensor>> own) {
    RETURN_IF_ERROR(communicator_.Agree(own.status()));
    at::Tensor sums = at::cat(*own).contiguous();
    replicas_->Sum(absl::MakeSpan(sums.data_ptr<double>(), sums.numel()));
    return sums;
  }

  absl::Status Evaluate(bool* goes_on) {
    const absl::Time begin = absl::Now();
    RETURN_IF_ERROR(communicator_.Agree(status_));
    ASSIGN_OR_RETURN(const at::Tensor sums, SumsOfAllReplicas(evaluator_->MeasureAgents(groups_)));
    evaluator_->ReadAhead();
    int64_t row = 0;
    for (const auto& group : groups_) {
      group->Keep(step_, GroupTrainer::Means(sums.narrow(0, row, group->heads().size())));
      row += group->heads().size();
    }
    const at::Tensor all = GatherRows(communicator_, grid_, sums);
    const double waiting_seconds = LongestWait();
    absl::StatusOr<EvaluationSummary> summary = EvaluationSummary();
    if (reporter_ != nullptr) summary = Summarize(all, KvHeads());
    RETURN_IF_ERROR(communicator_.Agree(summary.status()));
    if (reporter_ != nullptr) {
      evaluation_seconds_ += absl::ToDoubleSeconds(absl::Now() - begin);
      summary->step = step_;
      summary->seconds = Seconds();
      summary->evaluation_seconds = evaluation_seconds_;
      summary->waiting_seconds = waiting_seconds;
      reporter_->Evaluated(*summary);
    }
    RETURN_IF_ERROR(WriteSteps());
    if (options_.on_evaluation != nullptr) {
      const bool on = communicator_.rank() != 0 || options_.on_evaluation(*summary);
      *goes_on = communicator_.Minimum({static_cast<uint8_t>(on)})[0] != 0;
    }
    return absl::OkStatus();
  }

  // Collective: a number of every rank, on rank 0.
  std::vector<double> NumbersOfRanks(double own) {
    const std::string bytes(reinterpret_cast<const char*>(&own), sizeof(own));
    std::vector<double> numbers;
    for (const std::string& of_rank : communicator_.Gather(bytes)) {
      std::memcpy(&numbers.emplace_back(), of_rank.data(), sizeof(double));
    }
    return numbers;
  }

  // Collective: of the rank that has waited longest, on rank 0; waits before a resume included.
  double LongestWait() {
    double longest = 0;
    for (const double of_rank : NumbersOfRanks(absl::ToDoubleSeconds(Waited()))) {
      longest = std::max(longest, of_rank);
    }
    return waiting_before_ + longest;
  }

  at::Tensor Stopped() const {
    std::vector<at::Tensor> stopped;
    for (const auto& group : groups_) stopped.push_back(group->stopped());
    return at::cat(stopped);
  }

  // Collective: the lines of the steps since the last call.
  absl::Status WriteSteps() {
    pending_.push_back(Stopped().to(at::kDouble));
    const at::Tensor all = GatherRows(communicator_, grid_, at::stack(pending_, 1));
    pending_.clear();
    absl::Status status;
    if (reporter_ != nullptr) {
      std::vector<at::Tensor> columns = all.unbind(1);
      const int64_t stopped = columns.back().sum().item<int64_t>();
      columns.pop_back();
      status = reporter_->WriteSteps(step_, columns, stopped);
    }
    return communicator_.Agree(status);
  }

  absl::Status SaveCheckpoint() {
    const absl::Time begin = absl::Now();
    if (step_ == saved_step_) return absl::OkStatus();
    RETURN_IF_ERROR(communicator_.Agree(status_));
    // A resumed run tells of the steps after this one alone.
    RETURN_IF_ERROR(WriteSteps());
    Checkpoint checkpoint;
    checkpoint.step = step_;
    checkpoint.settings = settings_;
    for (const auto& group : groups_) checkpoint.groups[group->heads().begin] = group->State();
    const double waiting = LongestWait();
    if (reporter_ != nullptr) {
      checkpoint.run = reporter_->state();
      checkpoint.run["seconds"] = Seconds();
      checkpoint.run["waiting_seconds"] = waiting;
      checkpoint.run["evaluation_seconds"] = evaluation_seconds_;
    }
    RETURN_IF_ERROR(checkpoints_->Save(checkpoint));
    saved_step_ = step_;
    last_checkpoint_ = absl::Now();
    if (reporter_ != nullptr) reporter_->CheckpointSaved(step_, last_checkpoint_ - begin);
    return absl::OkStatus();
  }

  std::string StoppedText() const {
    return absl::StrCat(
        "asked to stop after ", step_, " of ", options_.group.optimizer.steps, " steps: ",
        checkpoints_ == nullptr ? std::string("what they have made is written")
                                : absl::StrCat("--resume goes on from ", options_.checkpoint.dir));
  }

  // Collective.
  absl::StatusOr<TrainingResult> Result(bool stopped) {
    TrainingResult result;
    result.stopped = stopped;
    result.steps = step_;
    result.training_seconds = Seconds();
    if (stopped && checkpoints_ != nullptr) return result;
    result.waiting_seconds = LongestWait();
    result.contexts_per_second =
        static_cast<double>(step_ * options_.batch) / std::max(1e-9, result.training_seconds);
    result.train_traces = train_->size();
    result.train_contexts = static_cast<int64_t>(train_->contexts().size());
    result.held_out_traces = held_out_->size();
    result.held_out_contexts = evaluator_->contexts();
    GatherAgents(communicator_, grid_, groups_, &result);
    RETURN_IF_ERROR(CompareHeuristics(&result));
    result.incomplete_head_traces = SumOverRanks(Incomplete());
    if (communicator_.rank() == 0) Describe(&result.agents);
    return result;
  }

  // Collective, on rank 0.
  int64_t SumOverRanks(int64_t own) {
    double sum = 0;
    for (const double of_rank : NumbersOfRanks(static_cast<double>(own))) sum += of_rank;
    return static_cast<int64_t>(sum);
  }

  void Describe(AgentFile* agents) const {
    agents->shape = ShapeFor(options_, train_->model());
    agents->model_name = train_->model().name();
    agents->model_fingerprint = train_->model().fingerprint();
    agents->layers = train_->model().layers();
    agents->kv_heads = KvHeads();
    agents->training_data_hash = train_->hash();
    agents->objective = options_.objective.name;
    agents->seed = options_.group.gradient.seed;
    agents->training = AgentSettings(options_);
  }

  absl::Status CompareHeuristics(TrainingResult* result) {
    if (!options_.compare_heuristics) return absl::OkStatus();
    const std::vector<std::unique_ptr<Policy>> policies = HeuristicPolicies();
    ASSIGN_OR_RETURN(const at::Tensor sums,
                     SumsOfAllReplicas(evaluator_->MeasurePolicies(groups_, policies)));
    GatherHeuristics(communicator_, grid_, policies, sums, result);
    return absl::OkStatus();
  }

  const TrainingOptions& options_;
  TraceReader& reader_;
  Communicator& communicator_;
  const std::atomic<bool>& stop_;
  absl::StatusOr<TraceSet> train_;
  absl::StatusOr<TraceSet> held_out_;
  ProcessGrid grid_;
  std::unique_ptr<Communicator> replicas_;  // those of this rank's heads
  std::unique_ptr<Objective> objective_;
  std::vector<std::unique_ptr<GroupTrainer>> groups_;
  std::map<std::string, std::string> settings_;
  std::unique_ptr<CheckpointFolder> checkpoints_;
  nlohmann::json resumed_ = nlohmann::json::object();
  double seconds_before_ = 0;
  double evaluation_seconds_ = 0;
  double waiting_before_ = 0;

  int64_t first_step_ = 0;
  int64_t step_ = 0;  // done
  int64_t saved_step_ = -1;
  int64_t next_talk_ = 1;
  int64_t last_talk_step_ = 0;
  absl::Time begin_;
  absl::Time last_talk_;
  absl::Time last_checkpoint_;
  absl::Status status_;
  std::unique_ptr<TrainingReporter> reporter_;  // on rank 0
  // Losses and gradient norms, fp64 [own heads], of the steps that aren't told of yet.
  std::vector<at::Tensor> pending_;

  std::unique_ptr<BatchOrder> order_;
  std::unique_ptr<BatchOrder> order_ahead_;
  int64_t step_ahead_ = -1;
  std::vector<Context> batch_ahead_;
  TraceCache cache_;
  FetchThreads threads_;
  std::unique_ptr<Prefetcher> training_data_;
  std::unique_ptr<HeldOutEvaluator> evaluator_;
};

}  // namespace

absl::StatusOr<TrainingResult> Train(const TrainingOptions& options, TraceReader& reader,
                                     Communicator& communicator, const std::atomic<bool>& stop) {
  return TrainingRun(options, reader, communicator, stop).Run();
}

}  // namespace kvp

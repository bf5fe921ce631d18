#include "tests/benchmarks/training_quality.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "storage/trace_reader.h"
#include "trainer/communicator.h"
#include "trainer/training_run.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Of a run that only finds out how long a step takes; the first isn't counted.
constexpr int64_t kTrialSteps = 6;

}  // namespace

absl::StatusOr<Evaluated> TrainUntil(TrainingOptions options, const BenchStore& store,
                                     const std::function<bool(const Evaluated&)>& enough) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceReader> reader, store.Reader());
  const std::unique_ptr<Communicator> alone = NewSingleCommunicator();
  Evaluated last;
  options.compare_heuristics = false;
  options.on_evaluation = [&](const EvaluationSummary& summary) {
    last = {summary.step, summary.seconds - summary.evaluation_seconds, summary.held_out_cost};
    return !enough(last);
  };
  const std::atomic<bool> stop{false};
  ASSIGN_OR_RETURN(const TrainingResult result, Train(options, *reader, *alone, stop));
  if (!result.stopped_heads.empty()) {
    return absl::InternalError(
        absl::StrCat("training of ", result.stopped_heads.size(), " heads has diverged"));
  }
  return last;
}

absl::StatusOr<Evaluated> TrainFor(TrainingOptions options, const BenchStore& store,
                                   double seconds) {
  TrainingOptions trial = options;
  trial.group.optimizer.steps = kTrialSteps;
  trial.eval_every = 1;
  double first = -1;
  ASSIGN_OR_RETURN(const Evaluated timed, TrainUntil(trial, store, [&](const Evaluated& evaluated) {
                     if (first < 0) first = evaluated.seconds;
                     return false;
                   }));
  const double of_step = (timed.seconds - first) / static_cast<double>(kTrialSteps - 1);
  options.group.optimizer.steps =
      std::max<int64_t>(1, std::llround(seconds / std::max(1e-6, of_step)));
  options.eval_every = options.group.optimizer.steps;
  return TrainUntil(std::move(options), store, [](const Evaluated&) { return false; });
}

}  // namespace kvp

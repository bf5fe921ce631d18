// What rank 0 tells of a training run while it goes on: progress, a JSON line for each step,
// metrics.

#ifndef KVP_TRAINER_TRAINING_REPORTER_H_
#define KVP_TRAINER_TRAINING_REPORTER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "trainer/evaluation_summary.h"
#include "trainer/step_log.h"
#include "trainer/training_options.h"
#include "util/progress.h"

namespace kvp {

// Not thread-safe.
class TrainingReporter {
 public:
  // `options` must outlive it. `first_step`: those done before a resume.
  TrainingReporter(const TrainingOptions& options, int64_t kv_heads, int64_t first_step);

  // UNAVAILABLE naming the metrics file.
  absl::Status Open();

  struct Step {
    int64_t done = 0;         // steps, this one included
    double loss = 0;          // mean of rank 0's heads
    int64_t contexts = 0;     // of the batch
    int64_t token_heads = 0;  // entries of the batch times heads of all ranks
    absl::Duration waited;    // of rank 0, since it began
    int64_t read_bytes = 0;   // the same
    int64_t incomplete = 0;   // the same
    int64_t cache_bytes = 0;
  };
  void StepDone(const Step& step);

  void Evaluated(const EvaluationSummary& summary);
  void CheckpointSaved(int64_t step, absl::Duration taken);

  // Lines for the last rows.size() / 2 steps up to `step`: of each its losses, then its gradient
  // norms, each fp64 [heads]. UNAVAILABLE naming the metrics file.
  absl::Status WriteSteps(int64_t step, const std::vector<at::Tensor>& rows, int64_t stopped_heads);

  // Shows the last state.
  void Finish();

  // What the reports after a resume go on from.
  nlohmann::json state() const { return {{"last_evaluation", last_evaluation_}}; }
  void Restore(const nlohmann::json& state);

 private:
  double Seconds() const { return absl::ToDoubleSeconds(absl::Now() - begin_); }
  double StepsPerSecond() const;
  double WaitingShare() const;
  std::string Detail() const;

  const TrainingOptions& options_;
  const int64_t kv_heads_;
  const int64_t first_step_;
  const absl::Time begin_ = absl::Now();
  Progress progress_;
  std::unique_ptr<StepLog> log_;
  Step last_;
  int64_t token_heads_ = 0;                    // of all steps here
  std::vector<int64_t> token_heads_of_steps_;  // not yet written
  nlohmann::json last_evaluation_ = nlohmann::json::object();
};

}  // namespace kvp

#endif  // KVP_TRAINER_TRAINING_REPORTER_H_

// Everything that a training run is told.

#ifndef KVP_TRAINER_TRAINING_OPTIONS_H_
#define KVP_TRAINER_TRAINING_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "proto/trace.pb.h"
#include "trainer/evaluation_summary.h"
#include "trainer/group_trainer.h"
#include "trainer/objective.h"
#include "trainer/trainer_metrics.h"

namespace kvp {

// How traces come into a rank's memory. No result depends on it.
struct DataOptions {
  // What is kept of the traces once they were read.
  int64_t cache_bytes = int64_t{4} << 30;
  // What is read ahead of the step.
  int64_t prefetch_bytes = int64_t{256} << 20;
  int fetch_threads = 2;
};

struct CheckpointOptions {
  // Empty: none are written.
  std::string dir;
  // Steps, and time, between them; 0: not by this measure.
  int64_t every_steps = 0;
  absl::Duration every = absl::Minutes(10);
  // Go on after the newest whole one in `dir`, where there is any.
  bool resume = false;
};

struct TrainingOptions {
  // The shape's head_dim and rotary frequencies are set from the traces' model.
  GroupTrainer::Options group;
  ObjectiveOptions objective;
  // Agents read keys also as they were before their rotary rotation; else as they are cached alone.
  bool undo_rotation = true;
  // Heads that are trained stacked. Results depend on it by rounding.
  int64_t group_size = 4;
  // Contexts a step; the same ones for every head.
  int64_t batch = 8;
  // Steps between evaluations; there is one at the end always.
  int64_t eval_every = 50;
  // Held-out contexts that are evaluated, spread evenly over all; 0 for all.
  int64_t eval_contexts = 256;
  std::string train_split = "train";
  std::string held_out_split = "held_out";
  // Measure the policies that need no training at the end, for comparison.
  bool compare_heuristics = true;
  DataOptions data;
  CheckpointOptions checkpoint;
  at::Device device = at::kCPU;
  // Where rank 0 writes a JSON line for each step; empty for nowhere.
  std::string metrics_path;
  TrainerMetrics metrics;
  // Called on rank 0 after each evaluation; false ends the run as a request to stop does. Set on
  // every rank or on none.
  std::function<bool(const EvaluationSummary&)> on_evaluation;

  // INVALID_ARGUMENT naming the field and its value.
  absl::Status Validate() const;
};

// The agents' shape for the heads of `model`.
AgentShape ShapeFor(const TrainingOptions& options, const ModelInfo& model);

// Every option that the agents depend on, as text, by the name of its flag: what agent files tell
// of their making, and what a checkpoint must agree with.
std::map<std::string, std::string> AgentSettings(const TrainingOptions& options);

}  // namespace kvp

#endif  // KVP_TRAINER_TRAINING_OPTIONS_H_

// A whole training run: the steps over all of a rank's groups, the evaluations in between, and what
// they leave behind.

#ifndef KVP_TRAINER_TRAINING_RUN_H_
#define KVP_TRAINER_TRAINING_RUN_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "policy/agent_file.h"
#include "trainer/communicator.h"
#include "trainer/dataset.h"
#include "trainer/group_trainer.h"
#include "trainer/objective.h"

namespace kvp {

struct TrainingOptions {
  GroupTrainer::Options group;
  ObjectiveOptions objective;
  // Contexts a step; the same ones for every head.
  int64_t batch = 8;
  // Steps between evaluations; there is one at the end always.
  int64_t eval_every = 50;
  // Held-out contexts that are evaluated, spread evenly over all; 0 for all.
  int64_t eval_contexts = 256;
  // Where rank 0 writes a JSON line for each step; empty for nowhere.
  std::string metrics_path;

  // INVALID_ARGUMENT naming the field and its value.
  absl::Status Validate() const;
};

// What rank 0 has at the end. Heads are numbered layer-major.
struct TrainingResult {
  AgentFile agents;
  std::vector<double> held_out_cost;          // of each head
  std::vector<std::vector<double>> retained;  // of each head, at each budget
  std::vector<int64_t> stopped_heads;         // whose gradient wasn't finite
  int64_t steps = 0;                          // done
  double training_seconds = 0;                // steps and evaluations
  double contexts_per_second = 0;             // trained, on each head
};

// The contexts of step `step`: each epoch goes through all of `contexts` in an order of its own.
std::vector<Context> BatchOfStep(const std::vector<Context>& contexts, int64_t batch, int64_t step,
                                 uint64_t seed);

// Hex SHA-256 over the ids of the traces, in order.
std::string TrainingDataHash(const Dataset& train);

// Collective. Trains until the last step, or until *stop is set on any rank, on whichever rank it
// is. The result's agents and metrics are only set on rank 0. Errors of writing the metrics.
absl::StatusOr<TrainingResult> Train(const TrainingOptions& options, const Dataset& train,
                                     const Dataset& held_out, Communicator& communicator,
                                     const std::atomic<bool>& stop);

}  // namespace kvp

#endif  // KVP_TRAINER_TRAINING_RUN_H_

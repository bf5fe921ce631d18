// A whole training run: the steps over all of a rank's groups, the evaluations and checkpoints in
// between, and what they leave behind.

#ifndef KVP_TRAINER_TRAINING_RUN_H_
#define KVP_TRAINER_TRAINING_RUN_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "policy/agent_file.h"
#include "storage/trace_reader.h"
#include "trainer/communicator.h"
#include "trainer/training_options.h"

namespace kvp {

// What rank 0 has at the end. Heads are numbered layer-major.
struct TrainingResult {
  // A request to stop has ended the run before its last step. With checkpoints nothing else is set
  // then but `steps`: the run is to be resumed.
  bool stopped = false;
  int64_t steps = 0;  // done, those before a resume included
  AgentFile agents;
  std::vector<double> held_out_cost;          // of each head's kept agent
  std::vector<std::vector<double>> retained;  // of each head, at each budget
  std::vector<int64_t> best_steps;            // after which each head's agent was kept
  std::vector<int64_t> stopped_heads;         // whose training has diverged
  // The policies that need no training, and the cost of each, of each head.
  std::vector<std::string> heuristics;
  std::vector<std::vector<double>> heuristic_costs;
  // Steps, evaluations and waits for data, those before a resume included.
  double training_seconds = 0;
  double waiting_seconds = 0;      // the part of them in which the slowest rank waited for data
  double contexts_per_second = 0;  // trained, on each head
  int64_t train_traces = 0;
  int64_t train_contexts = 0;
  int64_t held_out_traces = 0;
  int64_t held_out_contexts = 0;
  int64_t incomplete_head_traces = 0;  // that lack blocks, and are left out for their head
};

// Collective. Lists the traces and trains on them until the last step, or until *stop is set on any
// rank, on whichever rank it is. Errors of the reader, of writing metrics and checkpoints, and of
// checkpoints that can't be gone on from.
absl::StatusOr<TrainingResult> Train(const TrainingOptions& options, TraceReader& reader,
                                     Communicator& communicator, const std::atomic<bool>& stop);

}  // namespace kvp

#endif  // KVP_TRAINER_TRAINING_RUN_H_

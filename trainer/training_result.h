// What a training run has come to.

#ifndef KVP_TRAINER_TRAINING_RESULT_H_
#define KVP_TRAINER_TRAINING_RESULT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/types/span.h"
#include "policy/agent_file.h"
#include "policy/policy.h"
#include "trainer/communicator.h"
#include "trainer/group_trainer.h"
#include "trainer/process_grid.h"

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

// Collective. Sets, on rank 0, what the groups of all ranks have kept: the agents' parameters and
// costs, held_out_cost, retained, best_steps and stopped_heads.
void GatherAgents(Communicator& communicator, const ProcessGrid& grid,
                  absl::Span<const std::unique_ptr<GroupTrainer>> groups, TrainingResult* result);

// Collective. Sets, on rank 0, heuristics and heuristic_costs from the sums of `policies`, one
// beside the other (see HeldOutEvaluator), of this rank's heads. Policies without a cost for some
// head are left out.
void GatherHeuristics(Communicator& communicator, const ProcessGrid& grid,
                      absl::Span<const std::unique_ptr<Policy>> policies, const at::Tensor& sums,
                      TrainingResult* result);

}  // namespace kvp

#endif  // KVP_TRAINER_TRAINING_RESULT_H_

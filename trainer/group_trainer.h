// Trains the agents of one group of heads, stacked: every operation is over all heads of the group
// at once.

#ifndef KVP_TRAINER_GROUP_TRAINER_H_
#define KVP_TRAINER_GROUP_TRAINER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/types/span.h"
#include "policy/agent_network.h"
#include "trainer/dataset.h"
#include "trainer/objective.h"
#include "trainer/optimizer.h"
#include "util/head_split.h"

namespace kvp {

// How good rankings are, one number a head.
struct GroupMetrics {
  at::Tensor cost;      // fp64 [heads]: mean over contexts of R(σ)/R(σ*)
  at::Tensor retained;  // fp64 [heads, budgets]: mean share of importance kept
};

// Owns parameters and optimiser state. What a head becomes depends on the seed, its index, the data
// and the group's shape, and on nothing else. Not thread-safe.
class GroupTrainer {
 public:
  struct Options {
    AgentShape shape;
    OptimizerOptions optimizer;
    uint64_t seed = 0;
    // Entries of each context that a step looks at, drawn uniformly; 0 for all. Gradients stay
    // unbiased (log_rank's nearly so), at a price that falls with the square.
    int64_t sampled_entries = 0;
    // Keep each head's best evaluation in the place of the last one. The held-out traces then have
    // a say in the agents, and a comparison on the same traces favours the agents a little.
    bool keep_best = false;
    // Shares of the entries at which the retained mass is measured.
    std::vector<double> budgets = {0.5, 0.25, 0.125, 0.0625};
  };

  // `objective` must outlive the trainer.
  GroupTrainer(const Options& options, HeadRange heads, const Objective* objective);

  struct StepResult {
    at::Tensor loss;           // fp64 [heads], mean over the contexts
    at::Tensor gradient_norm;  // fp32 [heads], before clipping
  };
  // One update from a batch of contexts of `dataset`, whose group `group` this is.
  StepResult Step(int64_t step, const Dataset& dataset, int64_t group,
                  absl::Span<const Context> contexts);

  // Ranks the contexts by the averaged parameters, and keeps a copy of those parameters and of the
  // metrics: of every head, or, with keep_best, of the heads that are the best so far. What isn't
  // finite is never kept.
  GroupMetrics Evaluate(const Dataset& dataset, int64_t group, absl::Span<const Context> contexts);

  HeadRange heads() const { return heads_; }
  // Heads whose gradient wasn't finite and that are trained no further: bool [heads].
  at::Tensor stopped() const;
  // What Evaluate kept.
  AgentParameters kept_parameters() const;
  const GroupMetrics& kept_metrics() const { return kept_metrics_; }

 private:
  AgentParameters Views(const at::Tensor& flat) const;

  const Options options_;
  const HeadRange heads_;
  const Objective* const objective_;
  at::Tensor parameters_;  // fp32 [heads, all parameters of one agent]
  std::unique_ptr<StackedAdamW> optimizer_;
  at::Tensor kept_parameters_;
  GroupMetrics kept_metrics_;
};

}  // namespace kvp

#endif  // KVP_TRAINER_GROUP_TRAINER_H_

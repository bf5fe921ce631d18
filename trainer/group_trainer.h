// Trains the agents of one group of heads, stacked: every operation is over all heads of the group
// at once.

#ifndef KVP_TRAINER_GROUP_TRAINER_H_
#define KVP_TRAINER_GROUP_TRAINER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "policy/agent_network.h"
#include "trainer/batch_gradient.h"
#include "trainer/divergence_watch.h"
#include "trainer/head_group_tensors.h"
#include "trainer/named_tensors.h"
#include "trainer/objective.h"
#include "trainer/optimizer.h"
#include "util/head_split.h"

namespace kvp {

// How good rankings are, one number a head, all on the CPU.
struct GroupMetrics {
  at::Tensor cost;      // fp64 [heads]: mean over contexts of R(σ)/R(σ*)
  at::Tensor retained;  // fp64 [heads, budgets]: mean share of importance kept
};

// Owns parameters and optimiser state. What a head becomes depends on the seed, its index, the data
// and the group's shape, and on nothing else. Not thread-safe.
class GroupTrainer {
 public:
  struct Options {
    GradientOptions gradient;
    OptimizerOptions optimizer;
    // Keep each head's best evaluation; else its last one. The held-out traces have a say in the
    // agents then, and a comparison on the same traces favours the agents a little.
    bool keep_best = true;
    // Shares of the entries at which the retained mass is measured.
    std::vector<double> budgets = {0.5, 0.25, 0.125, 0.0625};
  };

  // `objective` must outlive the trainer.
  GroupTrainer(const Options& options, HeadRange heads, const Objective* objective,
               at::Device device);

  HeadRange heads() const { return heads_; }
  at::Device device() const { return parameters_.device(); }

  // The loss and gradient of some contexts of a batch of `batch`. Where replicas share a batch out,
  // theirs are to be summed.
  BatchGradient Gradient(int64_t step, absl::Span<const BatchContext> contexts, int64_t batch);

  struct StepResult {
    at::Tensor gradient_norm;  // fp32 [heads], on the CPU, before clipping
    // bool [heads], on the CPU: heads that this step has ended the training of, since loss or
    // gradient wasn't finite or the loss has exploded. They are what Keep kept of them from then
    // on.
    at::Tensor ended;
  };
  // One update from the gradient of the whole batch.
  StepResult Apply(int64_t step, const BatchGradient& gradient);

  // What rankings by the averaged parameters are worth, summed over contexts: fp64
  // [heads, 2 + budgets], on the CPU: cost, retained mass at each budget, number of contexts. Sums
  // may be added up. Contexts of which a head isn't whole don't count for it.
  at::Tensor Measure(absl::Span<const ContextTensors> contexts) const;
  // The same for other scores, fp32 [heads, entries], of one context.
  at::Tensor MeasureScores(const at::Tensor& scores, const ContextTensors& context) const;
  // Means of such sums; not finite where there is no context.
  static GroupMetrics Means(const at::Tensor& sums);

  // Keeps the averaged parameters and `metrics`, which are theirs after `step` steps: of every
  // head, or, with keep_best, of the heads that are the best so far. What isn't finite is never
  // kept.
  void Keep(int64_t step, const GroupMetrics& metrics);

  // Heads that are trained no further: bool [heads], on the CPU.
  at::Tensor stopped() const;
  // What Keep kept; the parameters are on the CPU.
  AgentParameters kept_parameters() const;
  const GroupMetrics& kept_metrics() const { return kept_metrics_; }
  const at::Tensor& kept_steps() const { return kept_steps_; }  // int64 [heads]

  // Everything that the trainer's future depends on, on the CPU.
  NamedTensors State() const;
  // INVALID_ARGUMENT naming the tensor where it is missing or of another shape or dtype.
  absl::Status Restore(const NamedTensors& state);

 private:
  std::vector<int64_t> Budgets(int64_t entries) const;
  // Where everything of State lies.
  NamedTensors LiveState() const;

  const Options options_;
  const HeadRange heads_;
  const Objective* const objective_;
  at::Tensor parameters_;  // fp32 [heads, all parameters of one agent]
  std::unique_ptr<StackedAdamW> optimizer_;
  DivergenceWatch divergence_;
  at::Tensor kept_parameters_;
  GroupMetrics kept_metrics_;
  at::Tensor kept_steps_;
};

}  // namespace kvp

#endif  // KVP_TRAINER_GROUP_TRAINER_H_

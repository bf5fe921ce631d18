// The gradient of one group of heads over the contexts of a batch: where training spends its time.

#ifndef KVP_TRAINER_BATCH_GRADIENT_H_
#define KVP_TRAINER_BATCH_GRADIENT_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/types/span.h"
#include "policy/agent_network.h"
#include "trainer/head_group_tensors.h"
#include "trainer/objective.h"
#include "util/head_split.h"

namespace kvp {

struct GradientOptions {
  AgentShape shape;
  uint64_t seed = 0;
  // Entries of each context that a step looks at, drawn uniformly; 0 for all. Gradients stay
  // unbiased (log_rank's nearly so), at a price that falls with the square.
  int64_t sampled_entries = 0;
};

// One of a batch's contexts.
struct BatchContext {
  // Its place in the whole batch, of which a replica has a share: random numbers depend on it.
  int64_t number = 0;
  ContextTensors tensors;
};

struct BatchGradient {
  at::Tensor loss;  // fp64 [heads], on the CPU: Σ over the contexts given / contexts of the batch
  at::Tensor
      gradient;  // fp32 [heads, parameters]: d loss / d parameters, flat, as the names' order
};

// `parameters` are leaves that require gradients, on the device of the contexts' tensors. `batch`
// is the number of contexts of the whole batch: the results of replicas that share one out add up.
// Heads for which a context isn't whole have loss 1 and no gradient there.
BatchGradient ComputeBatchGradient(const GradientOptions& options, HeadRange heads,
                                   const Objective& objective, const AgentParameters& parameters,
                                   int64_t step, absl::Span<const BatchContext> contexts,
                                   int64_t batch);

}  // namespace kvp

#endif  // KVP_TRAINER_BATCH_GRADIENT_H_

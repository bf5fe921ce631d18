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
  // What matrices are multiplied in: fp32, or bf16 where a device is faster in it. Parameters,
  // everything between the products, objectives and updates are fp32 always.
  at::ScalarType dtype = at::kFloat;
  // What passes may hold until an objective that couples contexts has seen the batch; where they
  // need more, they are made again for the way back.
  int64_t kept_bytes = int64_t{2} << 30;
  // On the CPU, AgentPass; else, and on other devices, autograd.
  bool fused = true;
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

// `parameters` are fp32 [heads, parameters], flat as ParameterViews has them, on the device of the
// contexts' tensors. `batch` is the number of contexts of the whole batch: the results of replicas
// that share one out add up (an objective that couples contexts sees a replica's share of them).
// Heads for which a context isn't whole have no gradient there.
BatchGradient ComputeBatchGradient(const GradientOptions& options, HeadRange heads,
                                   const Objective& objective, const at::Tensor& parameters,
                                   int64_t step, absl::Span<const BatchContext> contexts,
                                   int64_t batch);

}  // namespace kvp

#endif  // KVP_TRAINER_BATCH_GRADIENT_H_

// AdamW, clipping, learning-rate schedule and moving average for stacked agents: each head is a
// problem of its own.

#ifndef KVP_TRAINER_OPTIMIZER_H_
#define KVP_TRAINER_OPTIMIZER_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "trainer/named_tensors.h"

namespace kvp {

struct OptimizerOptions {
  double learning_rate = 3e-3;
  double weight_decay = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  // Largest Euclidean norm of one head's gradient.
  double clip_norm = 5;
  int64_t steps = 300;
  // The rate rises linearly over warmup_steps, then falls as a cosine to final_rate_share of itself
  // at `steps`.
  int64_t warmup_steps = 20;
  double final_rate_share = 0.01;
  // Decay of the parameters' moving average; less in the first steps, so that the start is
  // forgotten soon.
  double ema_decay = 0.99;

  // INVALID_ARGUMENT naming the field and its value.
  absl::Status Validate() const;
};

// The rate of step `step`, from 0 on.
double LearningRate(const OptimizerOptions& options, int64_t step);

// AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019) over fp32 parameters
// [heads, parameters], a row for each head. Owns moments and moving average. Not thread-safe.
class StackedAdamW {
 public:
  // `parameters` is updated in place, and shared.
  StackedAdamW(const OptimizerOptions& options, at::Tensor parameters);

  // One update from gradients fp32 [heads, parameters]. A head whose gradient isn't finite stops:
  // its parameters, now and from then on, stay what they are. Returns each head's gradient norm
  // before clipping: fp32 [heads].
  at::Tensor Step(int64_t step, const at::Tensor& gradients);

  // Ends the training of heads (bool [heads]): their parameters, and the moving average of them,
  // are those of `last` (fp32 [heads, parameters]) from then on.
  void Stop(const at::Tensor& heads, const at::Tensor& last);

  // Everything but the parameters that Step depends on, by name: the tensors themselves until the
  // next Step or Stop, so that writing to them restores a state.
  NamedTensors state() const;

  // The moving average of the parameters: fp32 [heads, parameters].
  const at::Tensor& average() const { return average_; }
  // Which heads are still trained: bool [heads].
  const at::Tensor& active() const { return active_; }

 private:
  const OptimizerOptions options_;
  at::Tensor parameters_;
  at::Tensor mean_;
  at::Tensor square_;
  at::Tensor average_;
  at::Tensor active_;
};

}  // namespace kvp

#endif  // KVP_TRAINER_OPTIMIZER_H_

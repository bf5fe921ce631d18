// What an evaluation on the held-out traces has found, in a few numbers.

#ifndef KVP_TRAINER_EVALUATION_SUMMARY_H_
#define KVP_TRAINER_EVALUATION_SUMMARY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"

namespace kvp {

// What an evaluation on the held-out traces found.
struct EvaluationSummary {
  int64_t step = 0;
  // Since the training's first step, evaluations and waits for data included, those before a resume
  // too; the part of them in evaluations, this one included; and the part that was waiting.
  double seconds = 0;
  double evaluation_seconds = 0;
  double waiting_seconds = 0;
  double held_out_cost = 0;  // mean over heads
  double worst_cost = 0;
  int64_t worst_head = 0;
  std::vector<double> retained;  // at each budget, mean over heads
};

// Of the sums that GroupTrainer::Measure gives, of all heads; step and seconds aren't set. Heads
// whose cost isn't finite (their keys or values aren't) don't count. DATA_LOSS, naming the head, of
// `kv_heads` a layer, that has no context at all.
absl::StatusOr<EvaluationSummary> Summarize(const at::Tensor& sums, int64_t kv_heads);

// Mean of the finite entries: heads that have diverged must not hide the others. NaN where there is
// none.
double MeanOfFinite(const at::Tensor& values);

// "layer 1, KV head 0".
std::string HeadName(int64_t head, int64_t kv_heads);

}  // namespace kvp

#endif  // KVP_TRAINER_EVALUATION_SUMMARY_H_

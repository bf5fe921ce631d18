// How fast a training step computes, against what the machine's matrix product reaches.

#ifndef KVP_TESTS_BENCHMARKS_TRAINING_SPEED_H_
#define KVP_TESTS_BENCHMARKS_TRAINING_SPEED_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/benchmarks/store.h"
#include "trainer/training_options.h"

namespace kvp {

// Floating-point operations a second of one product of two square fp32 matrices of 2,048 rows, on
// the threads that torch and its BLAS have; the best of some.
double MatrixProductSpeed();

struct StepSpeed {
  double seconds = 0;         // of a step over all heads, the median
  double head_step_ms = 0;    // of it, for one head
  double useful_flops = 0;    // operations a second that the networks' matrix products need
  int64_t entries = 0;        // of a head's batch
  double gradient_share = 0;  // of the time: forward, objective and backward; the rest updates
};

// Times steps of `heads` heads in groups, as training takes them: K and V of the batch from bf16 in
// memory, gradients, updates. Contexts are the first ones of the store's train split; heads beyond
// the model's get its heads' data again, and parameters of their own.
absl::StatusOr<StepSpeed> TimeSteps(const TrainingOptions& options, const BenchStore& store,
                                    int64_t heads, int64_t steps);

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_TRAINING_SPEED_H_

// How good agents get, and how fast.

#ifndef KVP_TESTS_BENCHMARKS_TRAINING_QUALITY_H_
#define KVP_TESTS_BENCHMARKS_TRAINING_QUALITY_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "tests/benchmarks/store.h"
#include "trainer/training_options.h"

namespace kvp {

// An evaluation of a run in this process, alone. Seconds are of steps, and of waits for data, but
// not of evaluations.
struct Evaluated {
  int64_t step = 0;
  double seconds = 0;
  double cost = 0;  // on the held-out traces, mean over heads
};

// Trains on `store` and returns the last evaluation: where the steps end, or where `enough` first
// says so.
absl::StatusOr<Evaluated> TrainUntil(TrainingOptions options, const BenchStore& store,
                                     const std::function<bool(const Evaluated&)>& enough);

// Trains for as many steps as fit into `seconds`, by the time of a few steps before: so the
// schedule of the learning rate ends where time does.
absl::StatusOr<Evaluated> TrainFor(TrainingOptions options, const BenchStore& store,
                                   double seconds);

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_TRAINING_QUALITY_H_

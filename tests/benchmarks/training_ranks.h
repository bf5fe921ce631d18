// How training scales over MPI ranks.

#ifndef KVP_TESTS_BENCHMARKS_TRAINING_RANKS_H_
#define KVP_TESTS_BENCHMARKS_TRAINING_RANKS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "tests/benchmarks/store.h"

namespace kvp {

// Steps of one head a second, over all heads of the store's model: what `mpirun -np ranks train`
// says of `steps` steps with the trainer's defaults and one thread a rank, evaluations included
// (one small one, at the end). UNAVAILABLE with mpirun's words where that fails.
absl::StatusOr<double> HeadStepsPerSecond(const BenchStore& store, int64_t ranks, int64_t steps);

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_TRAINING_RANKS_H_

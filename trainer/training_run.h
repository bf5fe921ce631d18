// A whole training run: the steps over all of a rank's groups, the evaluations and checkpoints in
// between, and what they leave behind.

#ifndef KVP_TRAINER_TRAINING_RUN_H_
#define KVP_TRAINER_TRAINING_RUN_H_

#include <atomic>

#include "absl/status/statusor.h"
#include "storage/trace_reader.h"
#include "trainer/communicator.h"
#include "trainer/training_options.h"
#include "trainer/training_result.h"

namespace kvp {

// Collective. Lists the traces and trains on them until the last step, or until *stop is set on any
// rank, on whichever rank it is. Errors of the reader, of writing metrics and checkpoints, and of
// checkpoints that can't be gone on from.
absl::StatusOr<TrainingResult> Train(const TrainingOptions& options, TraceReader& reader,
                                     Communicator& communicator, const std::atomic<bool>& stop);

}  // namespace kvp

#endif  // KVP_TRAINER_TRAINING_RUN_H_

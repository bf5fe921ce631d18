// The flags of `kvp train` that say what agents are and how they learn: all that the result depends
// on.

#ifndef KVP_TRAINER_AGENT_FLAGS_H_
#define KVP_TRAINER_AGENT_FLAGS_H_

#include "absl/status/statusor.h"
#include "trainer/training_options.h"

namespace kvp {

// The options of --recipe, changed by what other flags say; TrainingOptions::Validate checks the
// rest. INVALID_ARGUMENT naming an unknown recipe, agent or dtype, or a flag that the objective has
// no use for.
absl::StatusOr<TrainingOptions> OptionsOfAgentFlags();

}  // namespace kvp

#endif  // KVP_TRAINER_AGENT_FLAGS_H_

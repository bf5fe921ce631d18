// The flags of `kvp train` that say what agents are and how they learn: all that the result depends
// on.

#ifndef KVP_TRAINER_AGENT_FLAGS_H_
#define KVP_TRAINER_AGENT_FLAGS_H_

#include "trainer/training_options.h"

namespace kvp {

// Sets what the flags say; TrainingOptions::Validate checks it.
void SetAgentOptions(TrainingOptions* options);

}  // namespace kvp

#endif  // KVP_TRAINER_AGENT_FLAGS_H_

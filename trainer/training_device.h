// Where a rank computes.

#ifndef KVP_TRAINER_TRAINING_DEVICE_H_
#define KVP_TRAINER_TRAINING_DEVICE_H_

#include <string>

#include "absl/status/statusor.h"
#include "c10/core/Device.h"

namespace kvp {

// "cpu"; "cuda": the CUDA device of the rank's number on its machine, modulo how many there are;
// "auto": that, or else the CPU. INVALID_ARGUMENT for other names, FAILED_PRECONDITION for "cuda"
// where LibTorch has none.
absl::StatusOr<c10::Device> TrainingDevice(const std::string& name, int machine_rank);

}  // namespace kvp

#endif  // KVP_TRAINER_TRAINING_DEVICE_H_

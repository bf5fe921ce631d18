// State as tensors with names.

#ifndef KVP_TRAINER_NAMED_TENSORS_H_
#define KVP_TRAINER_NAMED_TENSORS_H_

#include <map>
#include <string>

#include "ATen/core/Tensor.h"

namespace kvp {

// What a part of the trainer needs to go on as if it had never stopped. The first dimension of
// every tensor is the group's heads.
using NamedTensors = std::map<std::string, at::Tensor>;

}  // namespace kvp

#endif  // KVP_TRAINER_NAMED_TENSORS_H_

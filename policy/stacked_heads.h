// Parameters of a model's heads, stacked layer by layer.

#ifndef KVP_POLICY_STACKED_HEADS_H_
#define KVP_POLICY_STACKED_HEADS_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "util/head_split.h"

namespace kvp {

// Where the heads stand in a stack [layers * kv_heads, ...]. INVALID_ARGUMENT, naming the head, for
// one that isn't among them.
absl::StatusOr<std::vector<int64_t>> IndicesOf(const std::vector<HeadId>& heads, int64_t layers,
                                               int64_t kv_heads);

// The rows `indices` of `stack`: a view where they follow each other, as in a whole model.
at::Tensor SelectHeads(const at::Tensor& stack, const std::vector<int64_t>& indices);

}  // namespace kvp

#endif  // KVP_POLICY_STACKED_HEADS_H_

// The one place where tensors become bytes and bytes tensors. Little-endian, row-major.

#ifndef KVP_UTIL_TENSOR_BYTES_H_
#define KVP_UTIL_TENSOR_BYTES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "util/safetensors.h"

namespace kvp {

// A CPU tensor that owns a copy of `bytes`. INVALID_ARGUMENT where their number doesn't fit shape
// and dtype.
absl::StatusOr<at::Tensor> TensorFromBytes(absl::string_view bytes, at::ScalarType dtype,
                                           const std::vector<int64_t>& shape);

// The tensor's elements, copied to the host.
std::string BytesOfTensor(const at::Tensor& tensor);

// A CPU tensor that shares the mapped file's memory: read-only, and to be dropped or copied before
// the file is closed. INVALID_ARGUMENT for a dtype that torch lacks.
absl::StatusOr<at::Tensor> TensorOfEntry(const SafetensorsEntry& entry);

// Writes tensors of any device as a safetensors file, atomically. Errors as WriteSafetensors.
absl::Status WriteTensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors,
                          const std::map<std::string, std::string>& metadata = {});

}  // namespace kvp

#endif  // KVP_UTIL_TENSOR_BYTES_H_

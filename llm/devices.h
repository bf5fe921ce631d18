// Where a decoder's layers lie, and in which dtype.

#ifndef KVP_LLM_DEVICES_H_
#define KVP_LLM_DEVICES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "c10/core/Device.h"
#include "c10/core/ScalarType.h"
#include "c10/util/Exception.h"

namespace kvp {

// RESOURCE_EXHAUSTED where memory ran out, else INTERNAL: "ACTION: the first line of what torch
// says".
absl::Status StatusOfTorchError(const c10::Error& error, absl::string_view action);

// "float32", "bfloat16" or "float16"; else INVALID_ARGUMENT naming it.
absl::StatusOr<at::ScalarType> ParseDtype(const std::string& dtype);

// "cpu", "cuda" or "cuda:N"; and, for tests of where things lie, "cpu:0", which torch takes for
// another device than "cpu", and "meta", where tensors have no memory. INVALID_ARGUMENT naming it
// for others; FAILED_PRECONDITION where LibTorch has no CUDA device.
absl::StatusOr<at::Device> ParseDevice(const std::string& device);

// The device of each of `layers` layers: `devices` get contiguous stretches, as even as can be, in
// their order. INVALID_ARGUMENT for no device, or more devices than layers.
absl::StatusOr<std::vector<at::Device>> DevicesOfLayers(const std::vector<std::string>& devices,
                                                        int64_t layers);

// UNIMPLEMENTED, naming both, where this LibTorch can't run the decoder's products there: 1.13 has
// none for float16 on the CPU.
absl::Status CheckDevice(at::Device device, at::ScalarType dtype);

}  // namespace kvp

#endif  // KVP_LLM_DEVICES_H_

// What LibTorch's caching allocator says of a device.

#ifndef KVP_TESTS_GPU_DEVICE_MEMORY_H_
#define KVP_TESTS_GPU_DEVICE_MEMORY_H_

#include <cstdint>
#include <string>

namespace kvp {

// The most bytes that tensors took on "cuda" or "cuda:N" since the last reset. -1 for other
// devices, and where LibTorch has no way to say that doesn't need the CUDA toolkit.
int64_t PeakDeviceBytes(const std::string& device);
void ResetPeakDeviceBytes(const std::string& device);

}  // namespace kvp

#endif  // KVP_TESTS_GPU_DEVICE_MEMORY_H_

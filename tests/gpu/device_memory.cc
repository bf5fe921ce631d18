#include "tests/gpu/device_memory.h"

#include "ATen/ATen.h"
#ifdef KVP_HAS_DEVICE_STATISTICS
#include "ATen/DeviceAccelerator.h"
#endif

namespace kvp {

#ifdef KVP_HAS_DEVICE_STATISTICS

namespace {

c10::DeviceIndex IndexOf(const std::string& device) {
  const at::Device parsed(device);
  return parsed.has_index() ? parsed.index() : c10::DeviceIndex{0};
}

}  // namespace

int64_t PeakDeviceBytes(const std::string& device) {
  if (device == "cpu") return -1;
  // The first statistic is over all of the allocator's pools.
  return at::accelerator::getDeviceStats(IndexOf(device)).allocated_bytes[0].peak;
}

void ResetPeakDeviceBytes(const std::string& device) {
  if (device != "cpu") at::accelerator::resetPeakStats(IndexOf(device));
}

#else

int64_t PeakDeviceBytes(const std::string& device) { return -1; }
void ResetPeakDeviceBytes(const std::string& device) {}

#endif

}  // namespace kvp

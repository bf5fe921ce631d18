#include "trainer/training_device.h"

#include "ATen/Context.h"
#include "absl/strings/str_cat.h"
#include "c10/core/impl/VirtualGuardImpl.h"

namespace kvp {

absl::StatusOr<c10::Device> TrainingDevice(const std::string& name, int machine_rank) {
  if (name != "cpu" && name != "cuda" && name != "auto") {
    return absl::InvalidArgumentError(
        absl::StrCat("device is \"", name, "\": auto, cpu or cuda is needed"));
  }
  const int devices =
      name != "cpu" && at::hasCUDA()
          ? static_cast<int>(c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).deviceCount())
          : 0;
  if (devices > 0) {
    return c10::Device(c10::DeviceType::CUDA,
                       static_cast<c10::DeviceIndex>(machine_rank % devices));
  }
  if (name == "cuda") {
    return absl::FailedPreconditionError(
        "device is \"cuda\": there is no CUDA device for this LibTorch");
  }
  return c10::Device(c10::DeviceType::CPU);
}

}  // namespace kvp

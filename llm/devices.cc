#include "llm/devices.h"

#include <algorithm>

#include "ATen/ATen.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "util/status_macros.h"

namespace kvp {

absl::Status StatusOfTorchError(const c10::Error& error, absl::string_view action) {
  const std::string text = error.what_without_backtrace();
  const std::string message =
      absl::StrCat(action, ": ", std::vector<std::string>(absl::StrSplit(text, '\n'))[0]);
  const bool memory =
      absl::StrContains(text, "out of memory") || absl::StrContains(text, "can't allocate memory");
  return memory ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
}

absl::StatusOr<at::ScalarType> ParseDtype(const std::string& dtype) {
  if (dtype == "float32") return at::kFloat;
  if (dtype == "bfloat16") return at::kBFloat16;
  if (dtype == "float16") return at::kHalf;
  return absl::InvalidArgumentError(
      absl::StrCat("dtype is \"", dtype, "\": float32, bfloat16 or float16 is needed"));
}

absl::StatusOr<at::Device> ParseDevice(const std::string& device) {
  if (device == "cpu") return at::Device(at::kCPU);
  if (device == "cpu:0") return at::Device(at::kCPU, 0);
  if (device == "meta") return at::Device(at::kMeta);
  const std::vector<std::string> parts = absl::StrSplit(device, absl::MaxSplits(':', 1));
  int index = 0;
  if (parts[0] != "cuda" ||
      (parts.size() == 2 && (!absl::SimpleAtoi(parts[1], &index) || index < 0 || index > 127))) {
    return absl::InvalidArgumentError(
        absl::StrCat("device is \"", device, "\": cpu, cuda or cuda:N is needed"));
  }
  if (!at::hasCUDA()) {
    return absl::FailedPreconditionError(
        absl::StrCat("device is \"", device, "\": there is no CUDA device for this LibTorch"));
  }
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

absl::StatusOr<std::vector<at::Device>> DevicesOfLayers(const std::vector<std::string>& devices,
                                                        int64_t layers) {
  const int64_t count = static_cast<int64_t>(devices.size());
  if (count < 1 || count > layers) {
    return absl::InvalidArgumentError(absl::StrCat("devices are \"", absl::StrJoin(devices, ","),
                                                   "\": from 1 to ", layers,
                                                   ", one a layer at most, are needed"));
  }
  std::vector<at::Device> result;
  for (int64_t layer = 0; layer < layers; ++layer) {
    ASSIGN_OR_RETURN(const at::Device device, ParseDevice(devices[layer * count / layers]));
    result.push_back(device);
  }
  return result;
}

absl::Status CheckDevice(at::Device device, at::ScalarType dtype) {
  try {
    const at::Tensor matrix = at::ones({2, 2}, at::TensorOptions().dtype(dtype).device(device));
    at::mm(matrix, matrix).add_(at::bmm(matrix.unsqueeze(0), matrix.unsqueeze(0))[0]);
  } catch (const c10::Error& error) {
    return absl::UnimplementedError(
        absl::StrCat("device ", device.str(), " with dtype ", at::toString(dtype), ": ",
                     StatusOfTorchError(error, "this LibTorch can't").message()));
  }
  return absl::OkStatus();
}

}  // namespace kvp

#include "util/tensor_bytes.h"

#include <cstring>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::StatusOr<at::ScalarType> ScalarTypeOf(absl::string_view dtype) {
  if (dtype == "F64") return at::kDouble;
  if (dtype == "F32") return at::kFloat;
  if (dtype == "F16") return at::kHalf;
  if (dtype == "BF16") return at::kBFloat16;
  if (dtype == "I64") return at::kLong;
  if (dtype == "I32") return at::kInt;
  if (dtype == "I16") return at::kShort;
  if (dtype == "I8") return at::kChar;
  if (dtype == "U8") return at::kByte;
  if (dtype == "BOOL") return at::kBool;
  return absl::InvalidArgumentError(absl::StrCat("dtype ", dtype, " can't be loaded"));
}

absl::StatusOr<std::string> DtypeName(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return "F64";
    case at::kFloat:
      return "F32";
    case at::kHalf:
      return "F16";
    case at::kBFloat16:
      return "BF16";
    case at::kLong:
      return "I64";
    case at::kInt:
      return "I32";
    case at::kShort:
      return "I16";
    case at::kChar:
      return "I8";
    case at::kByte:
      return "U8";
    case at::kBool:
      return "BOOL";
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("dtype ", c10::toString(type), " can't be written"));
  }
}

}  // namespace

absl::StatusOr<at::Tensor> TensorFromBytes(absl::string_view bytes, at::ScalarType dtype,
                                           const std::vector<int64_t>& shape) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(dtype));
  if (tensor.nbytes() != bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat(bytes.size(), " bytes for a tensor of shape [",
                                                   absl::StrJoin(shape, ", "), "], which takes ",
                                                   tensor.nbytes()));
  }
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

std::string BytesOfTensor(const at::Tensor& tensor) {
  const at::Tensor host = tensor.detach().to(at::kCPU).contiguous();
  return std::string(static_cast<const char*>(host.data_ptr()), host.nbytes());
}

absl::StatusOr<at::Tensor> TensorOfEntry(const SafetensorsEntry& entry) {
  ASSIGN_OR_RETURN(const at::ScalarType dtype, ScalarTypeOf(entry.dtype));
  if (entry.bytes.empty()) return at::empty(entry.shape, at::TensorOptions().dtype(dtype));
  return at::from_blob(const_cast<char*>(entry.bytes.data()), entry.shape,
                       at::TensorOptions().dtype(dtype));
}

absl::Status WriteTensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors,
                          const std::map<std::string, std::string>& metadata) {
  std::map<std::string, at::Tensor> host;
  std::map<std::string, SafetensorsEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    at::Tensor& copy = host[name] = tensor.detach().to(at::kCPU).contiguous();
    ASSIGN_OR_RETURN(const std::string dtype, DtypeName(copy.scalar_type()));
    entries[name] = {dtype, copy.sizes().vec(),
                     absl::string_view(static_cast<const char*>(copy.data_ptr()), copy.nbytes())};
  }
  return WriteSafetensors(path, entries, metadata);
}

}  // namespace kvp

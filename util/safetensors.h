// The safetensors file format (https://huggingface.co/docs/safetensors): 8 bytes of little-endian
// header length, a JSON header
// {"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {string: string}}, then the tensors'
// bytes.
//
// Free of torch: bytes, shapes and dtype names only. util/tensor_bytes.h makes tensors of them.

#ifndef KVP_UTIL_SAFETENSORS_H_
#define KVP_UTIL_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

// One tensor of a file: row-major bytes, not owned.
struct SafetensorsEntry {
  std::string dtype;  // "F32", "F16", "BF16", "I64", …, as the format spells it.
  std::vector<int64_t> shape;
  absl::string_view bytes;
};

// An open safetensors file, mapped into memory: pages are read when they are touched. Immutable,
// thread-safe.
class SafetensorsFile {
 public:
  // NOT_FOUND where there is no such file; INVALID_ARGUMENT, naming the file, the tensor and the
  // value, where it is truncated, its header is malformed, or an entry's offsets and shape don't
  // agree with the file.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);

  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  // The entries' bytes live as long as this object.
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // NOT_FOUND naming the file and the tensor.
  absl::StatusOr<const SafetensorsEntry*> Find(absl::string_view name) const;

  // Says that the bytes of one of this file's entries won't be read soon: memory holds them no
  // longer. Reading them again reads the file again.
  void ReleasePages(const SafetensorsEntry& entry) const;

 private:
  explicit SafetensorsFile(std::string path) : path_(std::move(path)) {}
  absl::Status Parse();

  const std::string path_;
  const char* data_ = nullptr;
  size_t size_ = 0;
  std::map<std::string, SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

// Writes the file atomically, tensors in the map's order without gaps: the same entries give the
// same bytes. INVALID_ARGUMENT where an entry's bytes don't match its dtype and shape.
absl::Status WriteSafetensors(const std::string& path,
                              const std::map<std::string, SafetensorsEntry>& entries,
                              const std::map<std::string, std::string>& metadata = {});

// Bytes an element takes, 0 for a dtype that the format doesn't know.
int64_t SafetensorsElementBytes(absl::string_view dtype);

}  // namespace kvp

#endif  // KVP_UTIL_SAFETENSORS_H_

#include "util/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

constexpr size_t kLengthBytes = 8;
// As the reference implementation: a larger header is an attack or not a safetensors file.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

// The bytes that dtype and shape ask for; -1 where they make no sense.
int64_t ExpectedBytes(absl::string_view dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = SafetensorsElementBytes(dtype);
  if (bytes == 0) return -1;
  for (int64_t size : shape) {
    if (size < 0) return -1;
    if (size != 0 && bytes > std::numeric_limits<int64_t>::max() / size) return -1;
    bytes *= size;
  }
  return bytes;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<SafetensorsEntry> ParseEntry(const Json& json, absl::string_view data) {
  if (!json.is_object()) return absl::InvalidArgumentError("is not an object");
  const auto dtype = json.find("dtype");
  if (dtype == json.end() || !dtype->is_string()) {
    return absl::InvalidArgumentError("dtype is missing or not a string");
  }
  SafetensorsEntry entry;
  entry.dtype = dtype->get<std::string>();
  if (SafetensorsElementBytes(entry.dtype) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("dtype \"", entry.dtype, "\" is unknown"));
  }
  const auto shape = json.find("shape");
  if (shape == json.end() || !shape->is_array()) {
    return absl::InvalidArgumentError("shape is missing or not an array");
  }
  for (const Json& size : *shape) {
    if (!size.is_number_unsigned()) {
      return absl::InvalidArgumentError(absl::StrCat("shape ", shape->dump(), " is not valid"));
    }
    entry.shape.push_back(size.get<int64_t>());
  }
  const auto offsets = json.find("data_offsets");
  if (offsets == json.end() || !offsets->is_array() || offsets->size() != 2 ||
      !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) {
    return absl::InvalidArgumentError("data_offsets is missing or not two numbers");
  }
  const uint64_t begin = (*offsets)[0].get<uint64_t>();
  const uint64_t end = (*offsets)[1].get<uint64_t>();
  if (begin > end || end > data.size()) {
    return absl::InvalidArgumentError(absl::StrCat("data_offsets [", begin, ", ", end,
                                                   "] are outside of the file's ", data.size(),
                                                   " data bytes (is it truncated?)"));
  }
  const int64_t expected = ExpectedBytes(entry.dtype, entry.shape);
  if (expected < 0 || static_cast<uint64_t>(expected) != end - begin) {
    return absl::InvalidArgumentError(absl::StrCat("data_offsets span ", end - begin,
                                                   " bytes, but ", entry.dtype, " ",
                                                   ShapeText(entry.shape), " takes ", expected));
  }
  entry.bytes = data.substr(begin, end - begin);
  return entry;
}

}  // namespace

int64_t SafetensorsElementBytes(absl::string_view dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "I8" || dtype == "U8" || dtype == "BOOL" || dtype == "F8_E4M3" ||
      dtype == "F8_E5M2") {
    return 1;
  }
  return 0;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  auto file = std::unique_ptr<SafetensorsFile>(new SafetensorsFile(path));
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const std::string message = absl::StrCat(path, ": can't open: ", std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
  }
  struct stat information;
  if (fstat(descriptor, &information) != 0 || !S_ISREG(information.st_mode)) {
    close(descriptor);
    return absl::InvalidArgumentError(absl::StrCat(path, ": is not a regular file"));
  }
  file->size_ = information.st_size;
  if (file->size_ > 0) {
    void* data = mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const int error = errno;
    close(descriptor);
    if (data == MAP_FAILED) {
      return absl::UnavailableError(absl::StrCat(path, ": can't map: ", std::strerror(error)));
    }
    file->data_ = static_cast<const char*>(data);
  } else {
    close(descriptor);
  }
  if (absl::Status status = file->Parse(); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
  }
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

void SafetensorsFile::ReleasePages(const SafetensorsEntry& entry) const {
  // Only pages that are this entry's alone.
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto offset = static_cast<size_t>(entry.bytes.data() - data_);
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + entry.bytes.size()) / page * page;
  if (begin < end) madvise(const_cast<char*>(data_) + begin, end - begin, MADV_DONTNEED);
}

absl::Status SafetensorsFile::Parse() {
  if (size_ < kLengthBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", size_, " bytes, too few for a safetensors file (is it truncated?)"));
  }
  uint64_t header_bytes;
  std::memcpy(&header_bytes, data_, kLengthBytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > size_ - kLengthBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("header length ", header_bytes, " is more than the file's ",
                     size_ - kLengthBytes, " bytes or the format's limit (is it truncated?)"));
  }
  const absl::string_view file(data_, size_);
  const absl::string_view header_text = file.substr(kLengthBytes, header_bytes);
  const absl::string_view data = file.substr(kLengthBytes + header_bytes);
  ASSIGN_OR_RETURN(const Json header, ParseJson(header_text, "header"));
  if (!header.is_object()) return absl::InvalidArgumentError("header is not a JSON object");
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return absl::InvalidArgumentError("__metadata__ is not an object");
      for (const auto& [key, text] : value.items()) {
        if (!text.is_string()) {
          return absl::InvalidArgumentError(absl::StrCat("__metadata__.", key, " is not a string"));
        }
        metadata_[key] = text.get<std::string>();
      }
      continue;
    }
    absl::StatusOr<SafetensorsEntry> entry = ParseEntry(value, data);
    if (!entry.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, ": ", entry.status().message()));
    }
    entries_[name] = *std::move(entry);
  }
  const char* end = data.data();
  for (const auto& [name, entry] : entries_) {
    end = std::max(end, entry.bytes.data() + entry.bytes.size());
  }
  if (end == data.data() + data.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(data.data() + data.size() - end,
                   " bytes follow the last tensor's: the header doesn't belong to this data"));
}

absl::StatusOr<const SafetensorsEntry*> SafetensorsFile::Find(absl::string_view name) const {
  const auto found = entries_.find(std::string(name));
  if (found == entries_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": has no tensor ", name));
  }
  return &found->second;
}

absl::Status WriteSafetensors(const std::string& path,
                              const std::map<std::string, SafetensorsEntry>& entries,
                              const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, entry] : entries) {
    if (ExpectedBytes(entry.dtype, entry.shape) != static_cast<int64_t>(entry.bytes.size())) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", name, ": ",
                                                     entry.bytes.size(), " bytes for ", entry.dtype,
                                                     " ", ShapeText(entry.shape)));
    }
    header[name] = {{"dtype", entry.dtype},
                    {"shape", entry.shape},
                    {"data_offsets", {offset, offset + entry.bytes.size()}}};
    offset += entry.bytes.size();
  }
  std::string text = header.dump();
  // The format asks for data aligned to 8 bytes; spaces may follow the header.
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t header_bytes = text.size();
  std::vector<absl::string_view> pieces = {
      absl::string_view(reinterpret_cast<const char*>(&header_bytes), kLengthBytes), text};
  for (const auto& [name, entry] : entries) pieces.push_back(entry.bytes);
  return WriteFileAtomically(path, pieces.data(), pieces.size());
}

}  // namespace kvp

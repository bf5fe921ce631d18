// What `kvp inspect` finds out: of a shard's folder, or of a safetensors file.

#ifndef KVP_STORAGE_INSPECTION_H_
#define KVP_STORAGE_INSPECTION_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace kvp {

struct Inspection {
  // For people, with a newline at the end.
  std::string text;
  // The same as one JSON object.
  std::string json;
  // Blocks whose checksum, or whose key, was wrong, or that could not be read. 0 where that was not
  // asked for.
  int64_t corrupt_blocks = 0;
};

// The shard in folder `path`, opened read-only: traces by split, task and model, heads, bytes. With
// `verify`, reads every block and checks it. NOT_FOUND where there is no shard.
absl::StatusOr<Inspection> InspectShard(const std::string& path, bool verify);

// Metadata and tensors of a safetensors file, as an agent file is. Errors as SafetensorsFile::Open.
absl::StatusOr<Inspection> InspectSafetensors(const std::string& path);

// Whichever of the two `path` is: a folder is a shard.
absl::StatusOr<Inspection> InspectPath(const std::string& path, bool verify);

}  // namespace kvp

#endif  // KVP_STORAGE_INSPECTION_H_

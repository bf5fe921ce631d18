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

// One committed trace of the shard in folder `path`: its record and its blocks. `id`: 32 hex
// digits. INVALID_ARGUMENT for others, NOT_FOUND where it isn't there.
absl::StatusOr<Inspection> InspectTrace(const std::string& path, const std::string& id);

// Rewrites the files of the shard in folder `path`, which no server may have open, without what was
// deleted from them. Returns the bytes of its folder before and after.
struct CompactionResult {
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
};
absl::StatusOr<CompactionResult> CompactShard(const std::string& path);

// Removes the shard in folder `path`, folder and all. FAILED_PRECONDITION where it is no shard, or
// a server has it open: nothing is removed then.
absl::Status DropShard(const std::string& path);

// Metadata and tensors of a safetensors file, as an agent file is. Errors as SafetensorsFile::Open.
absl::StatusOr<Inspection> InspectSafetensors(const std::string& path);

// Whichever of the two `path` is: a folder is a shard.
absl::StatusOr<Inspection> InspectPath(const std::string& path, bool verify);

}  // namespace kvp

#endif  // KVP_STORAGE_INSPECTION_H_

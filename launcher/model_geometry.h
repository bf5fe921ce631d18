// How many (layer, KV head)s a model has, which the plan splits over the shards, and how large they
// are.

#ifndef KVP_LAUNCHER_MODEL_GEOMETRY_H_
#define KVP_LAUNCHER_MODEL_GEOMETRY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace kvp {

struct ModelGeometry {
  int32_t layers = 0;
  int32_t kv_heads = 0;
  // Values of a head's key; 0 where the file doesn't tell.
  int32_t head_dim = 0;
  // Of the longest sequence; 0 where the file doesn't tell.
  int64_t max_positions = 0;

  int64_t heads() const { return int64_t{layers} * kv_heads; }
};

// Reads `model_dir`/config.json (a Hugging Face model's). NOT_FOUND without the file;
// INVALID_ARGUMENT, naming the file, the field and the value, where it is malformed.
absl::StatusOr<ModelGeometry> ReadModelGeometry(const std::string& model_dir);

}  // namespace kvp

#endif  // KVP_LAUNCHER_MODEL_GEOMETRY_H_

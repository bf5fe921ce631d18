// The weights of a model directory in Hugging Face layout.

#ifndef KVP_LLM_CHECKPOINT_H_
#define KVP_LLM_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "util/safetensors.h"

namespace kvp {

// The tensors of model.safetensors, or of the files that model.safetensors.index.json names, mapped
// into memory. Not thread-safe.
class Checkpoint {
 public:
  // NOT_FOUND where a file isn't there; INVALID_ARGUMENT, naming it, where one is malformed.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& directory);

  // A tensor of floating point, of exactly this shape, that shares the mapped file's memory: to be
  // copied before this object goes. NOT_FOUND, INVALID_ARGUMENT (shape) or UNIMPLEMENTED (dtype)
  // naming file, tensor and value.
  absl::StatusOr<at::Tensor> Get(const std::string& name, const std::vector<int64_t>& shape);

  // Says that a tensor, one that Get gave, has been copied: its part of the file leaves memory.
  void Release(const std::string& name);

  bool has(const std::string& name) const { return tensors_.count(name) > 0; }
  // The file with a tensor that is there.
  const std::string& FileOf(const std::string& name) const {
    return tensors_.at(name).file->path();
  }

  // UNIMPLEMENTED, naming file and tensor, where a tensor was never asked for: a part of the model
  // would be left out.
  absl::Status CheckAllUsed() const;

  // Hex SHA-256 over `config_text` and over name, dtype, shape and bytes of every tensor, in the
  // order of their names: it doesn't depend on how the tensors are spread over files.
  std::string Fingerprint(absl::string_view config_text) const;

 private:
  struct Tensor {
    const SafetensorsFile* file;
    const SafetensorsEntry* entry;
  };

  absl::Status OpenSingle(const std::string& path);
  absl::Status OpenIndexed(const std::string& directory, const std::string& index_path);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Tensor> tensors_;
  std::set<std::string> used_;
  std::string where_;  // the file to name when a tensor is in none
};

}  // namespace kvp

#endif  // KVP_LLM_CHECKPOINT_H_

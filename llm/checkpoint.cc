#include "llm/checkpoint.h"

#include <filesystem>

#include "ATen/ATen.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "llm/json_fields.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/sha256.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& directory) {
  auto checkpoint = std::make_unique<Checkpoint>();
  const std::string single = absl::StrCat(directory, "/model.safetensors");
  const std::string index = absl::StrCat(single, ".index.json");
  if (!Exists(single) && Exists(index)) {
    RETURN_IF_ERROR(checkpoint->OpenIndexed(directory, index));
    return checkpoint;
  }
  for (const char* pickled : {"/pytorch_model.bin", "/pytorch_model.bin.index.json"}) {
    if (Exists(single) || !Exists(directory + pickled)) continue;
    return absl::NotFoundError(
        absl::StrCat(single, " isn't there, only ", directory, pickled,
                     ", which isn't read: convert the weights with transformers' "
                     "save_pretrained(directory, safe_serialization=True)"));
  }
  RETURN_IF_ERROR(checkpoint->OpenSingle(single));
  return checkpoint;
}

absl::Status Checkpoint::OpenSingle(const std::string& path) {
  where_ = path;
  ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
  for (const auto& [name, entry] : file->entries()) tensors_[name] = {file.get(), &entry};
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenIndexed(const std::string& directory, const std::string& index_path) {
  where_ = index_path;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index_path));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(text, index_path));
  const JsonFields fields(json, index_path);
  const nlohmann::json* weight_map = fields.Find("weight_map");
  if (weight_map == nullptr || !weight_map->is_object()) {
    return fields.Invalid("weight_map", "an object is needed");
  }
  const JsonFields names(*weight_map, index_path, "weight_map.");
  std::map<std::string, const SafetensorsFile*> opened;
  for (const auto& [name, value] : weight_map->items()) {
    ASSIGN_OR_RETURN(const std::string file_name, names.String(name.c_str()));
    if (file_name.empty() || absl::StrContains(file_name, '/')) {
      return names.Invalid(name.c_str(), "the name of a file beside the index is needed");
    }
    const SafetensorsFile*& file = opened[file_name];
    if (file == nullptr) {
      ASSIGN_OR_RETURN(auto open, SafetensorsFile::Open(absl::StrCat(directory, "/", file_name)));
      file = open.get();
      files_.push_back(std::move(open));
    }
    ASSIGN_OR_RETURN(const SafetensorsEntry* entry, file->Find(name));
    tensors_[name] = {file, entry};
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> Checkpoint::Get(const std::string& name,
                                           const std::vector<int64_t>& shape) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(where_, ": tensor ", name, " is missing"));
  }
  used_.insert(name);
  const auto& [file, entry] = found->second;
  if (entry->shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        file->path(), ": tensor ", name, " has shape [", absl::StrJoin(entry->shape, ", "),
        "], but config.json asks for [", absl::StrJoin(shape, ", "), "]"));
  }
  if (entry->dtype != "F32" && entry->dtype != "F16" && entry->dtype != "BF16") {
    return absl::UnimplementedError(absl::StrCat(file->path(), ": tensor ", name, " has dtype ",
                                                 entry->dtype,
                                                 ": only F32, F16 and BF16 are supported"));
  }
  return TensorOfEntry(*entry);
}

void Checkpoint::Release(const std::string& name) {
  const Tensor& tensor = tensors_.at(name);
  tensor.file->ReleasePages(*tensor.entry);
}

absl::Status Checkpoint::CheckAllUsed() const {
  for (const auto& [name, tensor] : tensors_) {
    // Early Llama checkpoints carry the rotary frequencies, which config.json gives anyhow.
    if (used_.count(name) > 0 || absl::EndsWith(name, ".rotary_emb.inv_freq")) continue;
    return absl::UnimplementedError(
        absl::StrCat(tensor.file->path(), ": tensor ", name, " is not part of this architecture"));
  }
  return absl::OkStatus();
}

std::string Checkpoint::Fingerprint(absl::string_view config_text) const {
  Sha256 hash;
  hash.UpdateWithLength(config_text);
  for (const auto& [name, tensor] : tensors_) {
    hash.UpdateWithLength(name);
    hash.UpdateWithLength(tensor.entry->dtype);
    hash.UpdateWithLength(absl::StrJoin(tensor.entry->shape, ","));
    hash.UpdateWithLength(tensor.entry->bytes);
    tensor.file->ReleasePages(*tensor.entry);
  }
  return hash.FinishHex();
}

}  // namespace kvp

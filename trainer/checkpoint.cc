#include "trainer/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "util/file.h"
#include "util/json_text.h"
#include "util/logging.h"
#include "util/sha256.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

constexpr int64_t kFormatVersion = 1;
constexpr size_t kKept = 2;
constexpr char kPrefix[] = "step-";
constexpr char kUnfinished[] = ".unfinished";
constexpr char kManifest[] = "/manifest.json";

std::string NameOfStep(int64_t step) { return absl::StrFormat("%s%012d", kPrefix, step); }

std::string FileOfGroup(HeadRange heads) {
  return absl::StrFormat("heads-%05d-%05d.safetensors", heads.begin, heads.end);
}

absl::Status Failed(absl::string_view what, const std::string& path, int error) {
  return absl::UnavailableError(absl::StrCat(path, ": can't ", what, ": ", std::strerror(error)));
}

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  return error ? Failed("remove", path, error.value()) : absl::OkStatus();
}

// Of the folder's checkpoints, newest first.
std::vector<std::string> Names(const std::string& dir, bool unfinished) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!absl::StartsWith(name, kPrefix)) continue;
    if (absl::EndsWith(name, kUnfinished) == unfinished) names.push_back(name);
  }
  std::sort(names.rbegin(), names.rend());
  return names;
}

absl::Status SyncFolder(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return Failed("open", path, errno);
  const int result = fsync(descriptor);
  const int error = errno;
  close(descriptor);
  return result == 0 ? absl::OkStatus() : Failed("fsync", path, error);
}

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what));
}

// The manifest's content.
absl::StatusOr<nlohmann::json> ReadManifest(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const absl::StatusOr<nlohmann::json> json = ParseJson(text, path);
  if (!json.ok()) return absl::DataLossError(json.status().message());
  if (!json->is_object() || !json->contains("content") || !json->contains("sha256")) {
    return Damaged(path, "content or sha256 is missing");
  }
  const nlohmann::json& content = json->at("content");
  if (json->at("sha256") != Sha256Hex(content.dump())) return Damaged(path, "sha256 is wrong");
  const auto version = content.find("format_version");
  if (version == content.end() || *version != kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": format_version is ", version == content.end() ? "missing" : version->dump(),
        ", not ", kFormatVersion));
  }
  return content;
}

absl::Status CheckSettings(const std::string& path,
                           const std::map<std::string, std::string>& settings,
                           const std::map<std::string, std::string>& wanted) {
  const auto value = [](const std::map<std::string, std::string>& map, const std::string& field) {
    const auto found = map.find(field);
    return found == map.end() ? "unset" : absl::StrCat("\"", found->second, "\"");
  };
  std::map<std::string, std::string> all = settings;
  all.insert(wanted.begin(), wanted.end());
  for (const auto& [field, unused] : all) {
    const std::string there = value(settings, field);
    const std::string here = value(wanted, field);
    if (there == here) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": ", field, " is ", there, " there, and ", here,
                     " here: this run can't go on from it; give the same flags and traces, or "
                     "another checkpoint folder"));
  }
  return absl::OkStatus();
}

absl::StatusOr<NamedTensors> ReadGroup(const std::string& path, const nlohmann::json& file) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  if (file.value("bytes", int64_t{-1}) != static_cast<int64_t>(bytes.size()) ||
      file.value("sha256", std::string()) != Sha256Hex(bytes)) {
    return Damaged(path, "bytes or sha256 is wrong");
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> open, SafetensorsFile::Open(path));
  NamedTensors tensors;
  for (const auto& [name, entry] : open->entries()) {
    ASSIGN_OR_RETURN(const at::Tensor tensor, TensorOfEntry(entry));
    tensors[name] = tensor.clone();
  }
  return tensors;
}

}  // namespace

CheckpointFolder::CheckpointFolder(std::string dir, std::vector<HeadRange> groups, bool writes,
                                   Communicator* communicator)
    : dir_(std::move(dir)),
      groups_(std::move(groups)),
      writes_(writes),
      communicator_(communicator) {}

std::string CheckpointFolder::PathOf(const std::string& name) const {
  return absl::StrCat(dir_, "/", name);
}

absl::Status CheckpointFolder::Begin(bool loads) {
  const auto begin = [&]() -> absl::Status {
    RETURN_IF_ERROR(MakeDirectories(dir_));
    // What was being written when an earlier process ended.
    for (const std::string& name : Names(dir_, true)) RETURN_IF_ERROR(RemoveAll(PathOf(name)));
    const std::vector<std::string> names = Names(dir_, false);
    if (loads || names.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(dir_, ": has ", names[0],
                     " of an earlier run: go on from it with --resume, "
                     "or give another checkpoint folder"));
  };
  return communicator_->Agree(communicator_->rank() == 0 ? begin() : absl::OkStatus());
}

absl::StatusOr<Checkpoint> CheckpointFolder::LoadFrom(
    const std::string& path, const std::map<std::string, std::string>& settings) const {
  ASSIGN_OR_RETURN(const nlohmann::json content, ReadManifest(path + kManifest));
  Checkpoint checkpoint;
  for (const char* field : {"settings", "run", "files"}) {
    if (!content.contains(field) || !content[field].is_object()) {
      return Damaged(path, absl::StrCat(field, " isn't an object"));
    }
  }
  checkpoint.step = content.value("step", int64_t{0});
  for (const auto& [name, value] : content["settings"].items()) {
    if (!value.is_string()) return Damaged(path, absl::StrCat("settings.", name, " isn't text"));
    checkpoint.settings[name] = value.get<std::string>();
  }
  RETURN_IF_ERROR(CheckSettings(path, checkpoint.settings, settings));
  checkpoint.run = content["run"];
  for (const HeadRange group : groups_) {
    const std::string name = FileOfGroup(group);
    const nlohmann::json& files = content["files"];
    if (!files.contains(name) || !files[name].is_object()) {
      return Damaged(path, absl::StrCat("files has no ", name));
    }
    ASSIGN_OR_RETURN(checkpoint.groups[group.begin],
                     ReadGroup(absl::StrCat(path, "/", name), files[name]));
  }
  return checkpoint;
}

absl::StatusOr<std::optional<Checkpoint>> CheckpointFolder::Load(
    const std::map<std::string, std::string>& settings) {
  // Every rank tries the same ones.
  const std::string all = communicator_->Broadcast(absl::StrJoin(Names(dir_, false), "\n"));
  absl::Status last;
  std::vector<std::string> damaged;
  const std::vector<std::string> names = absl::StrSplit(all, '\n', absl::SkipEmpty());
  for (const std::string& name : names) {
    absl::StatusOr<Checkpoint> checkpoint = LoadFrom(PathOf(name), settings);
    last = communicator_->Agree(checkpoint.status());
    if (last.ok()) {
      // Else they would count among the last two.
      absl::Status removed;
      for (const std::string& newer : damaged) {
        if (communicator_->rank() == 0) removed.Update(RemoveAll(PathOf(newer)));
      }
      RETURN_IF_ERROR(communicator_->Agree(removed));
      return std::optional<Checkpoint>(*std::move(checkpoint));
    }
    if (absl::IsFailedPrecondition(last)) return last;
    if (communicator_->rank() == 0) {
      LogWarning(absl::StrCat("checkpoint ", name, " is damaged (", last.message(),
                              "): the one before it is tried"));
    }
    damaged.push_back(name);
  }
  if (last.ok()) return std::optional<Checkpoint>();
  return absl::DataLossError(absl::StrCat(
      dir_, ": no checkpoint is whole; remove the folder to begin anew: ", last.message()));
}

absl::StatusOr<std::string> CheckpointFolder::WriteGroups(const Checkpoint& checkpoint,
                                                          const std::string& path) const {
  nlohmann::json files = nlohmann::json::object();
  if (!writes_) return files.dump();
  for (const HeadRange group : groups_) {
    const std::string name = FileOfGroup(group);
    const std::string file = absl::StrCat(path, "/", name);
    RETURN_IF_ERROR(WriteTensors(file, checkpoint.groups.at(group.begin)));
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file));
    files[name] = {{"bytes", bytes.size()}, {"sha256", Sha256Hex(bytes)}};
  }
  return files.dump();
}

absl::Status CheckpointFolder::Save(const Checkpoint& checkpoint) {
  const bool first = communicator_->rank() == 0;
  const std::string path = PathOf(NameOfStep(checkpoint.step));
  const std::string unfinished = path + kUnfinished;
  const auto begin = [&]() -> absl::Status {
    RETURN_IF_ERROR(RemoveAll(unfinished));
    return MakeDirectories(unfinished);
  };
  RETURN_IF_ERROR(communicator_->Agree(first ? begin() : absl::OkStatus()));
  const absl::StatusOr<std::string> own_files = WriteGroups(checkpoint, unfinished);
  RETURN_IF_ERROR(communicator_->Agree(own_files.status()));
  const std::vector<std::string> files_of_ranks = communicator_->Gather(*own_files);
  const auto finish = [&]() -> absl::Status {
    nlohmann::json files = nlohmann::json::object();
    for (const std::string& of_rank : files_of_ranks) files.update(nlohmann::json::parse(of_rank));
    const nlohmann::json content = {{"format_version", kFormatVersion},
                                    {"step", checkpoint.step},
                                    {"settings", checkpoint.settings},
                                    {"run", checkpoint.run},
                                    {"files", std::move(files)}};
    const nlohmann::json manifest = {{"content", content}, {"sha256", Sha256Hex(content.dump())}};
    RETURN_IF_ERROR(WriteFileAtomically(unfinished + kManifest, {manifest.dump(2), "\n"}));
    // There where a run that was stopped at this very step goes on.
    RETURN_IF_ERROR(RemoveAll(path));
    if (rename(unfinished.c_str(), path.c_str()) != 0) {
      return Failed("rename the finished checkpoint to", path, errno);
    }
    RETURN_IF_ERROR(SyncFolder(dir_));
    const std::vector<std::string> names = Names(dir_, false);
    for (size_t i = kKept; i < names.size(); ++i) RETURN_IF_ERROR(RemoveAll(PathOf(names[i])));
    return absl::OkStatus();
  };
  return communicator_->Agree(first ? finish() : absl::OkStatus());
}

}  // namespace kvp

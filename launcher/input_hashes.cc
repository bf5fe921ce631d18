#include "launcher/input_hashes.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "util/sha256.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWholeBytes = int64_t{64} << 20;
constexpr int64_t kEndBytes = int64_t{1} << 20;

std::set<std::string> InputFiles(const Job& job) {
  std::set<std::string> files;
  for (const Job::Dataset& dataset : job.datasets()) {
    files.insert(dataset.prompts_file());
    files.insert(dataset.generated().text_file());
    files.insert(dataset.generated().data_file());
    files.insert(dataset.generated().qa_files().begin(), dataset.generated().qa_files().end());
  }
  files.insert(job.evaluation().text_file());
  files.insert(job.evaluation().agents_file());
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(job.model().path(), error)) {
    if (entry.is_regular_file(error)) files.insert(entry.path().string());
  }
  files.erase("");
  return files;
}

// Adds `bytes` bytes of the file from `begin` on.
absl::Status Add(const std::string& path, std::ifstream* file, int64_t begin, int64_t bytes,
                 Sha256* hash) {
  file->seekg(begin);
  std::string piece;
  while (bytes > 0) {
    piece.resize(std::min(bytes, kEndBytes));
    file->read(piece.data(), piece.size());
    if (file->gcount() != static_cast<std::streamsize>(piece.size())) {
      return absl::UnavailableError(absl::StrCat(path, ": can't be read"));
    }
    hash->Update(piece);
    bytes -= piece.size();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> InputHash(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": can't be read"));
  const int64_t size = file.tellg();
  Sha256 hash;
  if (size <= kWholeBytes) {
    RETURN_IF_ERROR(Add(path, &file, 0, size, &hash));
    return absl::StrCat("sha256 ", hash.FinishHex());
  }
  RETURN_IF_ERROR(Add(path, &file, 0, kEndBytes, &hash));
  RETURN_IF_ERROR(Add(path, &file, size - kEndBytes, kEndBytes, &hash));
  return absl::StrCat(size, " bytes, sha256 ", hash.FinishHex(), " of both ends");
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> InputHashes(const Job& job) {
  std::map<std::string, std::string> hashes;
  for (const std::string& path : InputFiles(job)) {
    ASSIGN_OR_RETURN(hashes[path], InputHash(path));
  }
  return hashes;
}

absl::Status CompareInputHashes(const std::map<std::string, std::string>& before,
                                const std::map<std::string, std::string>& now) {
  for (const auto& [path, hash] : before) {
    const auto found = now.find(path);
    if (found != now.end() && found->second == hash) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": isn't what it was: ",
                     found == now.end() ? "it isn't there" : absl::StrCat("it is ", found->second),
                     ", it was ", hash));
  }
  return absl::OkStatus();
}

}  // namespace kvp

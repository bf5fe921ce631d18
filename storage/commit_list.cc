#include "storage/commit_list.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rocksdb/env.h"
#include "storage/rocksdb_util.h"
#include "util/crc32c.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr char kHeader[8] = {'K', 'V', 'P', 'C', 1, 0, 0, 0};
constexpr size_t kIdBytes = 16;
constexpr size_t kCrcBytes = 4;

std::string EncodeEntries(absl::Span<const TraceId> ids) {
  std::string bytes;
  bytes.reserve(ids.size() * (kIdBytes + kCrcBytes));
  for (const TraceId& id : ids) {
    const std::string text(id.begin(), id.end());
    const uint32_t crc = Crc32c(text);
    bytes.append(text);
    for (size_t i = 0; i < kCrcBytes; ++i) bytes.push_back(static_cast<char>(crc >> (8 * i)));
  }
  return bytes;
}

}  // namespace

CommitList::CommitList(rocksdb::Env* env, const std::string& dir)
    : env_(env), dir_(dir), path_(absl::StrCat(dir, "/commits")) {}

CommitList::~CommitList() = default;

absl::StatusOr<std::optional<CommitList::Contents>> CommitList::Read() const {
  if (env_->FileExists(path_).IsNotFound()) return std::nullopt;
  std::string bytes;
  RETURN_IF_ERROR(FromRocksdb(rocksdb::ReadFileToString(env_, path_, &bytes), path_));
  Contents contents;
  absl::string_view rest = bytes;
  if (rest.substr(0, sizeof(kHeader)) != absl::string_view(kHeader, sizeof(kHeader))) {
    contents.damaged = 1;
    return contents;
  }
  rest.remove_prefix(sizeof(kHeader));
  for (; rest.size() >= kIdBytes + kCrcBytes; rest.remove_prefix(kIdBytes + kCrcBytes)) {
    TraceId id;
    std::copy_n(rest.begin(), kIdBytes, id.begin());
    if (EncodeEntries({id}) == rest.substr(0, kIdBytes + kCrcBytes)) {
      contents.ids.push_back(id);
    } else {
      ++contents.damaged;
    }
  }
  return contents;
}

absl::Status CommitList::Replace(absl::Span<const TraceId> ids) {
  file_.reset();
  const std::string temporary = absl::StrCat(path_, ".new");
  std::unique_ptr<rocksdb::WritableFile> file;
  rocksdb::Status status = env_->NewWritableFile(temporary, &file, rocksdb::EnvOptions());
  if (status.ok()) status = file->Append(rocksdb::Slice(kHeader, sizeof(kHeader)));
  if (status.ok()) status = file->Append(EncodeEntries(ids));
  if (status.ok()) status = file->Sync();
  if (status.ok()) status = env_->RenameFile(temporary, path_);
  RETURN_IF_ERROR(FromRocksdb(status, path_));
  RETURN_IF_ERROR(SyncFolder());
  file_ = std::move(file);
  return absl::OkStatus();
}

absl::Status CommitList::SyncFolder() const {
  std::unique_ptr<rocksdb::Directory> folder;
  rocksdb::Status status = env_->NewDirectory(dir_, &folder);
  if (status.ok()) status = folder->Fsync();
  return FromRocksdb(status, dir_);
}

absl::Status CommitList::Append(absl::Span<const TraceId> ids) {
  if (file_ == nullptr) return absl::FailedPreconditionError(absl::StrCat(path_, ": is not open"));
  rocksdb::Status status = file_->Append(EncodeEntries(ids));
  if (status.ok()) status = file_->Sync();
  // Part of an entry may be there.
  if (!status.ok()) file_.reset();
  return FromRocksdb(status, path_);
}

}  // namespace kvp

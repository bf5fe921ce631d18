// The operator's part of Shard.

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/db.h"
#include "rocksdb/utilities/checkpoint.h"
#include "storage/rocksdb_util.h"
#include "storage/shard.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr size_t kMaxNameBytes = 64;

// Names come from outside and become paths.
bool IsCheckpointName(const std::string& name) {
  if (name.empty() || name.size() > kMaxNameBytes || !absl::ascii_isalnum(name[0])) return false;
  for (const char c : name) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '_' && c != '-') return false;
  }
  // RocksDB's own, while it makes one.
  return !absl::EndsWith(name, ".tmp");
}

}  // namespace

absl::StatusOr<std::string> Shard::Checkpoint(const std::string& name) {
  if (options_.read_only) return absl::FailedPreconditionError("the shard is open read-only");
  if (!IsCheckpointName(name)) {
    return absl::InvalidArgumentError(
        "name: letters, digits, '.', '_' and '-' are allowed, at most 64, the first a letter or "
        "digit, and no .tmp at the end");
  }
  // A write between the copy of the manifest and that of the log would leave an entry without its
  // block.
  absl::MutexLock write_lock(&write_mutex_);
  const std::string folder = absl::StrCat(options_.dir, "/checkpoints");
  std::string path = absl::StrCat(folder, "/", name);
  std::error_code error;
  if (std::filesystem::exists(path, error)) {
    return absl::AlreadyExistsError(absl::StrCat(path, " exists"));
  }
  RETURN_IF_ERROR(MakeDirectories(folder));
  rocksdb::Checkpoint* created = nullptr;
  RETURN_IF_ERROR(FromRocksdb(rocksdb::Checkpoint::Create(db_.get(), &created), path));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(created);
  // What is committed before is in the copy.
  const std::vector<TraceId> committed = AllCommitted();
  RETURN_IF_ERROR(FromRocksdb(checkpoint->CreateCheckpoint(path), path));
  RETURN_IF_ERROR(CommitList(Environment(), path).Replace(committed));
  return path;
}

absl::Status Shard::Compact() {
  if (options_.read_only) return absl::FailedPreconditionError("the shard is open read-only");
  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  for (rocksdb::ColumnFamilyHandle* family : {blocks_, index_, records_}) {
    RETURN_IF_ERROR(FromRocksdb(db_->CompactRange(options, family, nullptr, nullptr),
                                absl::StrCat(options_.dir, ": compaction")));
  }
  return absl::OkStatus();
}

absl::StatusOr<Shard::TraceDetail> Shard::Describe(const TraceId& id) const {
  std::string value;
  const rocksdb::Status got = db_->Get(rocksdb::ReadOptions(), records_, EncodeTraceId(id), &value);
  if (got.IsNotFound()) {
    return absl::NotFoundError(
        absl::StrCat(options_.dir, ": trace ", TraceIdText(id), " isn't committed here"));
  }
  RETURN_IF_ERROR(FromRocksdb(got, absl::StrCat(options_.dir, ": records")));
  TraceDetail detail;
  if (!detail.record.ParseFromString(value)) {
    return absl::DataLossError(
        absl::StrCat(options_.dir, ": the record of trace ", TraceIdText(id), " is damaged"));
  }
  RETURN_IF_ERROR(ScanIndex(IndexPrefix(id), [&](const HeadBlockKey& key, const IndexEntry& entry) {
    detail.blocks.emplace_back(key, entry);
    return absl::OkStatus();
  }));
  return detail;
}

}  // namespace kvp

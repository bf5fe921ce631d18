#include "storage/shard.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rocksdb/db.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/listener.h"
#include "rocksdb/options.h"
#include "rocksdb/table.h"
#include "rocksdb/write_batch.h"
#include "storage/rocksdb_util.h"
#include "storage/shard_checks.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int32_t kFormatVersion = 2;
constexpr char kIdentityKey[] = "identity";
constexpr char kBlocks[] = "blocks";
constexpr char kIndex[] = "index";
constexpr char kRecords[] = "records";
constexpr uint64_t kMaxWalBytes = uint64_t{512} << 20;

rocksdb::ColumnFamilyOptions SmallFamilyOptions() {
  rocksdb::ColumnFamilyOptions options;
  options.compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

rocksdb::ColumnFamilyOptions BlocksFamilyOptions(int64_t write_buffer_bytes) {
  rocksdb::ColumnFamilyOptions options = SmallFamilyOptions();
  options.write_buffer_size = write_buffer_bytes;
  options.max_write_buffer_number = 3;
  rocksdb::BlockBasedTableOptions table;
  // The cheapest: every block has a checksum of its own, which its reader checks.
  table.checksum = rocksdb::kXXH3;
  // Nobody asks for a key that isn't there, nor reads on behind one.
  table.filter_policy = nullptr;
  table.max_auto_readahead_size = 0;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// Notices that RocksDB stopped over a failed write.
class StopListener final : public rocksdb::EventListener {
 public:
  explicit StopListener(std::shared_ptr<std::atomic<bool>> stopped)
      : stopped_(std::move(stopped)) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                         rocksdb::Status* error) override {
    if (error->severity() >= rocksdb::Status::Severity::kHardError) *stopped_ = true;
  }

 private:
  const std::shared_ptr<std::atomic<bool>> stopped_;
};

}  // namespace

absl::Status Shard::Options::Validate() const {
  if (dir.empty()) return absl::InvalidArgumentError("dir is empty");
  if (shard_count < 1) {
    return absl::InvalidArgumentError(absl::StrCat("shard_count is ", shard_count));
  }
  if (shard_index < 0 || shard_index >= shard_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard_index is ", shard_index, ", not between 0 and ", shard_count - 1));
  }
  if (max_bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_bytes is ", max_bytes, ", negative"));
  }
  if (sorted_file_bytes < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("sorted_file_bytes is ", sorted_file_bytes, ", not positive"));
  }
  if (write_buffer_bytes < 1 << 20) {
    return absl::InvalidArgumentError(
        absl::StrCat("write_buffer_bytes is ", write_buffer_bytes, ", less than 1 MiB"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Shard>> Shard::Open(Options options) {
  RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<Shard> shard(new Shard(std::move(options)));
  RETURN_IF_ERROR(shard->OpenDatabase());
  RETURN_IF_ERROR(shard->LoadIdentity());
  RETURN_IF_ERROR(shard->LoadCommitted());
  if (!shard->options_.read_only) {
    RETURN_IF_ERROR(shard->Recover());
    ASSIGN_OR_RETURN(const int64_t swept, shard->Sweep(shard->options_.sweep_older_than));
    if (swept > 0) {
      LogInfo(absl::StrCat(shard->options_.dir, ": swept ", swept, " traces without a commit"));
    }
  }
  return shard;
}

Shard::Shard(Options options)
    : options_(std::move(options)), stopped_once_(std::make_shared<std::atomic<bool>>(false)) {}

Shard::~Shard() {
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* family : {default_, blocks_, index_, records_}) {
    if (family != nullptr) db_->DestroyColumnFamilyHandle(family);
  }
  if (const rocksdb::Status status = db_->Close(); !status.ok()) {
    LogWarning(absl::StrCat(options_.dir, ": close: ", status.ToString()));
  }
}

absl::Status Shard::OpenDatabase() {
  rocksdb::DBOptions db_options;
  db_options.create_if_missing = true;
  db_options.create_missing_column_families = true;
  db_options.max_background_jobs = 2;
  db_options.max_total_wal_size = kMaxWalBytes;
  db_options.keep_log_file_num = 2;
  db_options.listeners.push_back(std::make_shared<StopListener>(stopped_once_));
  // Everything is in the log.
  db_options.avoid_flush_during_shutdown = true;
  if (options_.env != nullptr) db_options.env = options_.env;
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, SmallFamilyOptions()},
      {kBlocks, BlocksFamilyOptions(options_.write_buffer_bytes)},
      {kIndex, SmallFamilyOptions()},
      {kRecords, SmallFamilyOptions()}};
  if (options_.read_only) {
    std::vector<std::string> names;
    const rocksdb::Status listed =
        rocksdb::DB::ListColumnFamilies(db_options, options_.dir, &names);
    if (!listed.ok()) {
      return absl::NotFoundError(
          absl::StrCat(options_.dir, ": no shard here: ", listed.ToString()));
    }
    for (const rocksdb::ColumnFamilyDescriptor& family : families) {
      if (std::find(names.begin(), names.end(), family.name) == names.end()) {
        return absl::FailedPreconditionError(absl::StrCat(
            options_.dir, ": a RocksDB, but no shard: column family ", family.name, " is missing"));
      }
    }
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      options_.read_only
          ? rocksdb::DB::OpenForReadOnly(db_options, options_.dir, families, &handles, &db)
          : rocksdb::DB::Open(db_options, options_.dir, families, &handles, &db);
  RETURN_IF_ERROR(FromRocksdb(status, absl::StrCat(options_.dir, ": open")));
  db_.reset(db);
  default_ = handles[0];
  blocks_ = handles[1];
  index_ = handles[2];
  records_ = handles[3];
  return absl::OkStatus();
}

absl::Status Shard::LoadIdentity() {
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), default_, kIdentityKey, &value);
  if (status.IsNotFound()) return absl::OkStatus();
  RETURN_IF_ERROR(FromRocksdb(status, absl::StrCat(options_.dir, ": identity")));
  ShardIdentity identity;
  if (!identity.ParseFromString(value)) {
    return absl::DataLossError(absl::StrCat(options_.dir, ": identity can't be parsed"));
  }
  if (identity.format_version() != kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        options_.dir, ": format_version is ", identity.format_version(), ", not ", kFormatVersion));
  }
  if (!options_.read_only && (identity.shard_index() != options_.shard_index ||
                              identity.shard_count() != options_.shard_count)) {
    return absl::FailedPreconditionError(absl::StrCat(
        options_.dir, ": holds shard ", identity.shard_index(), " of ", identity.shard_count(),
        ", not ", options_.shard_index, " of ", options_.shard_count));
  }
  absl::MutexLock lock(&mutex_);
  identity_ = std::move(identity);
  return absl::OkStatus();
}

absl::Status Shard::LoadCommitted() {
  return List("", [this](TraceRecord record) -> absl::Status {
    ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(record.trace_id()));
    absl::MutexLock lock(&mutex_);
    committed_[id] = record.split();
    return absl::OkStatus();
  });
}

absl::StatusOr<ShardIdentity> Shard::Hello(const ModelInfo& model, int32_t shard_index,
                                           int32_t shard_count) {
  if (options_.read_only) return absl::FailedPreconditionError("the shard is open read-only");
  RETURN_IF_ERROR(CheckModel(model));
  if (shard_index != options_.shard_index || shard_count != options_.shard_count) {
    return absl::FailedPreconditionError(
        absl::StrCat("this is shard ", options_.shard_index, " of ", options_.shard_count,
                     ", but the client takes it for shard ", shard_index, " of ", shard_count));
  }
  absl::MutexLock write_lock(&write_mutex_);
  if (const std::optional<ShardIdentity> held = identity(); held.has_value()) {
    RETURN_IF_ERROR(CheckSameModel(model, held->model()));
    return *held;
  }
  ASSIGN_OR_RETURN(const std::vector<HeadRange> ranges,
                   SplitHeads(int64_t{model.layers()} * model.kv_heads(), shard_count));
  ShardIdentity identity;
  identity.set_format_version(kFormatVersion);
  *identity.mutable_model() = model;
  identity.set_shard_index(shard_index);
  identity.set_shard_count(shard_count);
  identity.set_head_begin(ranges[shard_index].begin);
  identity.set_head_end(ranges[shard_index].end);
  RETURN_IF_ERROR(ResumeWrites());
  rocksdb::WriteBatch batch;
  batch.Put(default_, kIdentityKey, identity.SerializeAsString());
  RETURN_IF_ERROR(Write(&batch, "identity"));
  absl::MutexLock lock(&mutex_);
  identity_ = identity;
  return identity;
}

std::optional<ShardIdentity> Shard::identity() const {
  absl::MutexLock lock(&mutex_);
  return identity_;
}

absl::Status Shard::CheckBlock(const HeadBlockView& block) const {
  absl::MutexLock lock(&mutex_);
  if (!identity_.has_value()) return absl::FailedPreconditionError("no hello yet");
  return CheckBlockFits(block, *identity_);
}

absl::Status Shard::CheckRecord(const TraceRecord& record) const {
  absl::MutexLock lock(&mutex_);
  if (!identity_.has_value()) return absl::FailedPreconditionError("no hello yet");
  return CheckRecordFits(record, *identity_);
}

bool Shard::IsCommitted(const TraceId& id) const {
  absl::MutexLock lock(&mutex_);
  return committed_.count(id) > 0;
}

std::vector<TraceId> Shard::Committed(absl::Span<const TraceId> ids) const {
  std::vector<TraceId> committed;
  absl::MutexLock lock(&mutex_);
  for (const TraceId& id : ids) {
    if (committed_.count(id) > 0) committed.push_back(id);
  }
  return committed;
}

int64_t Shard::committed_traces() const {
  absl::MutexLock lock(&mutex_);
  return committed_.size();
}

}  // namespace kvp

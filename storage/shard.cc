#include "storage/shard.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rocksdb/db.h"
#include "rocksdb/filter_policy.h"
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
constexpr uint64_t kBlobFileBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxWalBytes = uint64_t{512} << 20;
// Smaller blocks stay beside their keys: a file of many small blobs has no advantage.
constexpr uint64_t kMinBlobBytes = 4096;
constexpr size_t kSweepBatch = 10000;

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
  options.enable_blob_files = true;
  options.min_blob_size = kMinBlobBytes;
  options.blob_file_size = kBlobFileBytes;
  options.blob_compression_type = rocksdb::kNoCompression;
  // What a sweep deletes leaves the blob files only this way.
  options.enable_blob_garbage_collection = true;
  return options;
}

rocksdb::WriteOptions Synced() {
  rocksdb::WriteOptions options;
  options.sync = true;
  return options;
}

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
    ASSIGN_OR_RETURN(const int64_t swept, shard->Sweep(shard->options_.sweep_older_than));
    if (swept > 0) {
      LogInfo(absl::StrCat(shard->options_.dir, ": swept ", swept, " traces without a commit"));
    }
  }
  return shard;
}

Shard::Shard(Options options) : options_(std::move(options)) {}

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
  RETURN_IF_ERROR(
      FromRocksdb(db_->Put(Synced(), default_, kIdentityKey, identity.SerializeAsString()),
                  absl::StrCat(options_.dir, ": identity")));
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

std::vector<absl::Status> Shard::PutBlocks(absl::Span<const HeadBlockView> blocks) {
  std::vector<absl::Status> statuses(blocks.size());
  if (options_.read_only) {
    statuses.assign(blocks.size(), absl::FailedPreconditionError("the shard is open read-only"));
    return statuses;
  }
  size_t batch_bytes = 0;
  for (const HeadBlockView& block : blocks) batch_bytes += block.encoded.size() + 128;

  absl::MutexLock write_lock(&write_mutex_);
  rocksdb::WriteBatch batch(batch_bytes);
  absl::flat_hash_map<std::string, IndexEntry> in_batch;
  std::vector<size_t> written;
  const int64_t now_s = absl::ToUnixSeconds(absl::Now());
  for (size_t i = 0; i < blocks.size(); ++i) {
    const HeadBlockView& block = blocks[i];
    statuses[i] = [&]() -> absl::Status {
      RETURN_IF_ERROR(CheckBlock(block));
      const std::string index_key = EncodeIndexKey(block.key);
      std::optional<IndexEntry> held;
      if (const auto found = in_batch.find(index_key); found != in_batch.end()) {
        held = found->second;
      } else {
        rocksdb::PinnableSlice value;
        const rocksdb::Status got =
            db_->Get(rocksdb::ReadOptions(), index_, ToSlice(index_key), &value);
        if (got.ok()) {
          ASSIGN_OR_RETURN(held, DecodeIndexEntry(ToView(value)));
        } else if (!got.IsNotFound()) {
          return FromRocksdb(got, absl::StrCat(options_.dir, ": index"));
        }
      }
      if (held.has_value()) {
        if (held->first_token == block.first_token && held->tokens == block.tokens &&
            held->cuts == block.cuts) {
          return absl::OkStatus();
        }
        return absl::FailedPreconditionError(
            absl::StrCat(HeadBlockKeyText(block.key), " holds ", held->tokens, " tokens from ",
                         held->first_token, " with ", held->cuts, " cuts already, not ",
                         block.tokens, " from ", block.first_token, " with ", block.cuts));
      }
      if (IsCommitted(block.key.trace_id)) {
        return absl::FailedPreconditionError(absl::StrCat(
            HeadBlockKeyText(block.key), ": the trace is committed without this block"));
      }
      IndexEntry entry;
      entry.first_token = block.first_token;
      entry.tokens = block.tokens;
      entry.head_dim = block.head_dim;
      entry.cuts = block.cuts;
      entry.encoded_bytes = static_cast<int32_t>(block.encoded.size());
      entry.stored_at_s = now_s;
      batch.Put(blocks_, EncodeBlockKey(block.key), ToSlice(block.encoded));
      batch.Put(index_, index_key, EncodeIndexEntry(entry));
      in_batch.emplace(index_key, entry);
      written.push_back(i);
      return absl::OkStatus();
    }();
  }
  if (written.empty()) return statuses;
  const absl::Status status =
      FromRocksdb(db_->Write(Synced(), &batch), absl::StrCat(options_.dir, ": write"));
  if (!status.ok()) {
    // A repeated block in this batch is as lost as the first: none may be acknowledged.
    for (absl::Status& each : statuses) {
      if (each.ok()) each = status;
    }
  }
  return statuses;
}

absl::Status Shard::CheckComplete(const TraceRecord& record, const TraceId& id,
                                  const ShardIdentity& identity) const {
  const int32_t kv_heads = identity.model().kv_heads();
  const int64_t heads = identity.head_end() - identity.head_begin();
  // What of each head is there: blocks counted without a gap, tokens covered.
  std::vector<int32_t> next_block(heads, 0);
  std::vector<int64_t> covered(heads, 0);
  int64_t blocks = 0;
  const std::string trace = TraceIdText(id);
  RETURN_IF_ERROR(ScanIndex(
      IndexPrefix(id), [&](const HeadBlockKey& key, const IndexEntry& entry) -> absl::Status {
        const int64_t slot = key.head.Index(kv_heads) - identity.head_begin();
        if (slot < 0 || slot >= heads) {
          return absl::DataLossError(
              absl::StrCat(HeadBlockKeyText(key), " is outside of this shard's heads"));
        }
        if (key.block != next_block[slot] || entry.first_token != covered[slot]) {
          return absl::FailedPreconditionError(absl::StrCat(
              "layer ", key.head.layer, " kv_head ", key.head.kv_head, " trace ", trace, ": block ",
              next_block[slot], " from token ", covered[slot], " is missing"));
        }
        if (entry.cuts != record.cuts_size()) {
          return absl::FailedPreconditionError(absl::StrCat(HeadBlockKeyText(key), " has ",
                                                            entry.cuts, " cuts, the record ",
                                                            record.cuts_size()));
        }
        ++next_block[slot];
        covered[slot] += entry.tokens;
        ++blocks;
        return absl::OkStatus();
      }));
  for (int64_t slot = 0; slot < heads; ++slot) {
    if (covered[slot] == record.entries()) continue;
    const HeadId head = HeadId::FromIndex(identity.head_begin() + slot, kv_heads);
    return absl::FailedPreconditionError(
        absl::StrCat("layer ", head.layer, " kv_head ", head.kv_head, " trace ", trace, " has ",
                     covered[slot], " tokens here, but entries is ", record.entries()));
  }
  if (blocks != record.blocks()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "trace ", trace, " has ", blocks, " blocks here, but blocks is ", record.blocks()));
  }
  return absl::OkStatus();
}

std::vector<absl::Status> Shard::Commit(absl::Span<const TraceRecord> records) {
  std::vector<absl::Status> statuses(records.size());
  if (options_.read_only) {
    statuses.assign(records.size(), absl::FailedPreconditionError("the shard is open read-only"));
    return statuses;
  }
  absl::MutexLock write_lock(&write_mutex_);
  rocksdb::WriteBatch batch;
  std::vector<std::pair<TraceId, std::string>> committing;
  for (size_t i = 0; i < records.size(); ++i) {
    const TraceRecord& record = records[i];
    statuses[i] = [&]() -> absl::Status {
      RETURN_IF_ERROR(CheckRecord(record));
      ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(record.trace_id()));
      if (IsCommitted(id)) return absl::OkStatus();
      RETURN_IF_ERROR(CheckComplete(record, id, *identity()));
      batch.Put(records_, EncodeTraceId(id), record.SerializeAsString());
      committing.emplace_back(id, record.split());
      return absl::OkStatus();
    }();
  }
  if (committing.empty()) return statuses;
  const absl::Status status =
      FromRocksdb(db_->Write(Synced(), &batch), absl::StrCat(options_.dir, ": commit"));
  if (!status.ok()) {
    for (absl::Status& each : statuses) {
      if (each.ok()) each = status;
    }
    return statuses;
  }
  absl::MutexLock lock(&mutex_);
  for (auto& [id, split] : committing) committed_[id] = std::move(split);
  return statuses;
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

absl::StatusOr<int64_t> Shard::Sweep(absl::Duration older_than) {
  if (options_.read_only) return absl::FailedPreconditionError("the shard is open read-only");
  absl::MutexLock write_lock(&write_mutex_);
  const absl::Time horizon = absl::Now() - older_than;
  // Two passes, so that a trace's last block decides without holding all its keys.
  std::map<TraceId, int64_t> last_stored_s;
  RETURN_IF_ERROR(
      ScanIndex("", [&](const HeadBlockKey& key, const IndexEntry& entry) -> absl::Status {
        if (IsCommitted(key.trace_id)) return absl::OkStatus();
        int64_t& last = last_stored_s[key.trace_id];
        last = std::max(last, entry.stored_at_s);
        return absl::OkStatus();
      }));
  int64_t swept = 0;
  for (const auto& [id, last] : last_stored_s) {
    if (absl::FromUnixSeconds(last) > horizon) continue;
    rocksdb::WriteBatch batch;
    // A crash between two batches leaves a part of a trace without a commit, which the next sweep
    // takes.
    RETURN_IF_ERROR(ScanIndex(IndexPrefix(id), [&](const HeadBlockKey& key, const IndexEntry&) {
      batch.Delete(blocks_, EncodeBlockKey(key));
      batch.Delete(index_, EncodeIndexKey(key));
      if (batch.Count() < kSweepBatch) return absl::OkStatus();
      const absl::Status status = FromRocksdb(db_->Write(rocksdb::WriteOptions(), &batch),
                                              absl::StrCat(options_.dir, ": sweep"));
      batch.Clear();
      return status;
    }));
    RETURN_IF_ERROR(
        FromRocksdb(db_->Write(Synced(), &batch), absl::StrCat(options_.dir, ": sweep")));
    ++swept;
  }
  return swept;
}

}  // namespace kvp

// The writing half of Shard.

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/options.h"
#include "rocksdb/sst_file_writer.h"
#include "rocksdb/write_batch.h"
#include "storage/rocksdb_util.h"
#include "storage/shard.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr size_t kSweepBatch = 10000;
// A file that is about to become part of the database. What a crash leaves is removed at open.
constexpr char kSortedFilePrefix[] = "sorted-";
// In the default column family, never read.
constexpr char kToFlushKey[] = "to_flush";
// What the disk gets at once, while the file is still growing.
constexpr size_t kWriteBytes = size_t{4} << 20;

absl::Status ReadOnlyError() {
  return absl::FailedPreconditionError("the shard is open read-only");
}

// What was not refused yet is refused with `status`.
void RefuseAll(const absl::Status& status, std::vector<absl::Status>& statuses) {
  for (absl::Status& each : statuses) {
    if (each.ok()) each = status;
  }
}

IndexEntry EntryOf(const HeadBlockView& block, int64_t stored_at_s) {
  IndexEntry entry;
  entry.first_token = block.first_token;
  entry.tokens = block.tokens;
  entry.head_dim = block.head_dim;
  entry.cuts = block.cuts;
  entry.encoded_bytes = static_cast<int32_t>(block.encoded.size());
  entry.stored_at_s = stored_at_s;
  return entry;
}

// OK where a block that is there already is the same as one that came again.
absl::Status CheckSameBlock(const HeadBlockView& block, const IndexEntry& held) {
  if (held.first_token == block.first_token && held.tokens == block.tokens &&
      held.cuts == block.cuts) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(HeadBlockKeyText(block.key), " holds ", held.tokens, " tokens from ",
                   held.first_token, " with ", held.cuts, " cuts already, not ", block.tokens,
                   " from ", block.first_token, " with ", block.cuts));
}

}  // namespace

absl::StatusOr<std::optional<IndexEntry>> Shard::FindEntry(const HeadBlockKey& key) const {
  rocksdb::PinnableSlice value;
  const rocksdb::Status got = db_->Get(rocksdb::ReadOptions(), index_, EncodeIndexKey(key), &value);
  if (got.IsNotFound()) return std::nullopt;
  RETURN_IF_ERROR(FromRocksdb(got, absl::StrCat(options_.dir, ": index")));
  return DecodeIndexEntry(ToView(value));
}

std::vector<absl::Status> Shard::PutBlocks(absl::Span<const HeadBlockView> blocks) {
  std::vector<absl::Status> statuses(blocks.size());
  if (options_.read_only) {
    RefuseAll(ReadOnlyError(), statuses);
    return statuses;
  }
  absl::MutexLock write_lock(&write_mutex_);
  if (const absl::Status status = ResumeWrites(); !status.ok()) {
    RefuseAll(status, statuses);
    return statuses;
  }
  std::vector<NewBlock> added;
  const auto again = [this](const HeadBlockView& block) {
    options_.metrics.duplicate_blocks.Add();
    options_.metrics.duplicate_bytes.Add(static_cast<double>(block.encoded.size()));
  };
  absl::flat_hash_map<std::string, IndexEntry> in_batch;
  const int64_t now_s = absl::ToUnixSeconds(absl::Now());
  for (size_t i = 0; i < blocks.size(); ++i) {
    const HeadBlockView& block = blocks[i];
    statuses[i] = [&]() -> absl::Status {
      RETURN_IF_ERROR(CheckBlock(block));
      const std::string index_key = EncodeIndexKey(block.key);
      if (const auto found = in_batch.find(index_key); found != in_batch.end()) {
        again(block);
        return CheckSameBlock(block, found->second);
      }
      ASSIGN_OR_RETURN(const std::optional<IndexEntry> held, FindEntry(block.key));
      if (held.has_value()) {
        again(block);
        return CheckSameBlock(block, *held);
      }
      if (IsCommitted(block.key.trace_id)) {
        return absl::FailedPreconditionError(absl::StrCat(
            HeadBlockKeyText(block.key), ": the trace is committed without this block"));
      }
      added.push_back({block.key, EntryOf(block, now_s), block.encoded});
      in_batch.emplace(index_key, added.back().entry);
      return absl::OkStatus();
    }();
  }
  if (added.empty()) return statuses;
  const absl::Time begin = absl::Now();
  const absl::Status status = Store(added);
  options_.metrics.block_write_seconds.Observe(absl::ToDoubleSeconds(absl::Now() - begin));
  MeasureDisk();
  // A block that is repeated within the batch is as lost as the first: none may be acknowledged.
  if (!status.ok()) RefuseAll(status, statuses);
  return statuses;
}

absl::Status Shard::Store(std::vector<NewBlock>& blocks) {
  int64_t bytes = 0;
  for (const NewBlock& block : blocks) bytes += block.encoded.size();
  RETURN_IF_ERROR(CheckRoom(bytes));
  // RocksDB 7.8 doesn't take in files any more once it has stopped, though it can be resumed: it
  // ends the process.
  const bool sorted = bytes >= options_.sorted_file_bytes && !*stopped_once_;
  return sorted ? StoreSorted(blocks) : StoreLogged(blocks, bytes);
}

int64_t Shard::StoredBytes() const {
  uint64_t files = 0;
  uint64_t tables = 0;
  db_->GetIntProperty(blocks_, rocksdb::DB::Properties::kTotalSstFilesSize, &files);
  db_->GetIntProperty(blocks_, rocksdb::DB::Properties::kCurSizeAllMemTables, &tables);
  return static_cast<int64_t>(files + tables);
}

void Shard::MeasureDisk() const {
  options_.metrics.disk_bytes.Set(static_cast<double>(StoredBytes()));
}

absl::Status Shard::CheckRoom(int64_t bytes) const {
  if (options_.max_bytes == 0) return absl::OkStatus();
  const int64_t stored = StoredBytes();
  if (stored + bytes <= options_.max_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(options_.dir, ": the shard is full: ", bytes, " bytes more than the ", stored,
                   " that are stored exceed max_bytes=", options_.max_bytes));
}

absl::Status Shard::ResumeWrites() {
  const rocksdb::Status status = db_->Resume();
  if (status.IsBusy()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(options_.dir, ": recovering from a failed write"));
  }
  RETURN_IF_ERROR(FromRocksdb(status, absl::StrCat(options_.dir, ": resume")));
  if (!unwritten_entries_.empty()) {
    rocksdb::WriteBatch entries(unwritten_entries_);
    RETURN_IF_ERROR(Write(&entries, "index"));
    unwritten_entries_.clear();
  }
  return commits_.can_append() ? absl::OkStatus() : commits_.Replace(AllCommitted());
}

std::vector<TraceId> Shard::AllCommitted() const {
  std::vector<TraceId> ids;
  absl::MutexLock lock(&mutex_);
  ids.reserve(committed_.size());
  for (const auto& [id, trace] : committed_) ids.push_back(id);
  return ids;
}

absl::Status Shard::Write(rocksdb::WriteBatch* batch, absl::string_view what) {
  // When a write to the log fails, resuming begins a new log only if there is something to flush;
  // without one, the next write would end the process.
  uint64_t entries = 0;
  db_->GetIntProperty(default_, rocksdb::DB::Properties::kNumEntriesActiveMemTable, &entries);
  rocksdb::Status status;
  if (entries == 0) {
    rocksdb::WriteOptions unlogged;
    unlogged.disableWAL = true;
    status = db_->Put(unlogged, default_, kToFlushKey, "");
  }
  if (status.ok()) status = db_->Write(Synced(), batch);
  return FromRocksdb(status, absl::StrCat(options_.dir, ": ", what));
}

absl::Status Shard::FlushBlocks() {
  rocksdb::FlushOptions options;
  options.wait = false;
  return FromRocksdb(db_->Flush(options, blocks_), absl::StrCat(options_.dir, ": flush"));
}

absl::Status Shard::StoreLogged(std::vector<NewBlock>& blocks, int64_t bytes) {
  // Before RocksDB's own flush, which would come in the middle of one.
  const int64_t epoch_bytes = options_.write_buffer_bytes / 4 * 3;
  if (logged_epoch_ == 0 || logged_bytes_ + bytes > epoch_bytes) {
    // A file an epoch: so no two files' keys interleave, and compaction moves files without
    // rewriting them.
    if (logged_epoch_ != 0) RETURN_IF_ERROR(FlushBlocks());
    logged_epoch_ = next_epoch_++;
    logged_bytes_ = 0;
  }
  logged_bytes_ += bytes;
  rocksdb::WriteBatch batch(bytes + blocks.size() * 128);
  for (NewBlock& block : blocks) {
    block.entry.epoch = logged_epoch_;
    batch.Put(blocks_, EncodeBlockKey({logged_epoch_, block.key}), ToSlice(block.encoded));
    batch.Put(index_, EncodeIndexKey(block.key), EncodeIndexEntry(block.entry));
  }
  return Write(&batch, "write");
}

absl::Status Shard::StoreSorted(std::vector<NewBlock>& blocks) {
  const uint64_t epoch = next_epoch_++;
  std::vector<std::pair<std::string, absl::string_view>> sorted;
  rocksdb::WriteBatch index;
  for (NewBlock& block : blocks) {
    block.entry.epoch = epoch;
    sorted.emplace_back(EncodeBlockKey({epoch, block.key}), block.encoded);
    index.Put(index_, EncodeIndexKey(block.key), EncodeIndexEntry(block.entry));
  }
  std::sort(sorted.begin(), sorted.end());
  RETURN_IF_ERROR(AddSortedFiles(epoch, sorted));
  // Blocks without an entry are nowhere: a crash here loses what was not acknowledged. Where
  // writing the entries fails they may all the same be in the log, and come back at the next start:
  // so the file has to stay, and they are written again before anything else is.
  const absl::Status status = Write(&index, "index");
  if (!status.ok()) unwritten_entries_ = index.Data();
  return status;
}

absl::Status Shard::AddSortedFiles(uint64_t epoch, SortedBlocks sorted) {
  // A single write at a time leaves a disk waiting, and a checksum a second processor.
  int64_t bytes = 0;
  for (const auto& [key, block] : sorted) bytes += static_cast<int64_t>(block.size());
  const bool halve = sorted.size() > 1 && bytes >= 2 * options_.sorted_file_bytes;
  const size_t middle = halve ? sorted.size() / 2 : sorted.size();
  std::vector<std::string> paths = {
      absl::StrFormat("%s/%s%020u-0.sst", options_.dir, kSortedFilePrefix, epoch)};
  absl::Status first, second;
  if (halve) {
    paths.push_back(absl::StrFormat("%s/%s%020u-1.sst", options_.dir, kSortedFilePrefix, epoch));
    std::thread writer([&] { second = WriteSortedFile(paths[1], sorted.subspan(middle)); });
    first = WriteSortedFile(paths[0], sorted.subspan(0, middle));
    writer.join();
  } else {
    first = WriteSortedFile(paths[0], sorted);
  }
  first.Update(second);
  if (first.ok()) {
    rocksdb::IngestExternalFileOptions options;
    options.move_files = true;
    // The index says what a snapshot sees.
    options.snapshot_consistency = false;
    options.write_global_seqno = false;
    options.allow_blocking_flush = false;
    first = FromRocksdb(db_->IngestExternalFile(blocks_, paths, options),
                        absl::StrCat(options_.dir, ": write"));
  }
  if (!first.ok()) {
    for (const std::string& path : paths) db_->GetEnv()->DeleteFile(path);
  }
  return first;
}

absl::Status Shard::WriteSortedFile(const std::string& path, SortedBlocks sorted) const {
  rocksdb::EnvOptions env_options;
  env_options.use_direct_writes = direct_io_;
  env_options.writable_file_max_buffer_size = kWriteBytes;
  env_options.bytes_per_sync = kWriteBytes;
  rocksdb::SstFileWriter writer(env_options, db_->GetOptions(blocks_));
  rocksdb::Status status = writer.Open(path);
  for (size_t i = 0; i < sorted.size() && status.ok(); ++i) {
    status = writer.Put(sorted[i].first, ToSlice(sorted[i].second));
  }
  if (status.ok()) status = writer.Finish();
  return FromRocksdb(status, absl::StrCat(options_.dir, ": write"));
}

absl::Status Shard::Recover() {
  absl::MutexLock write_lock(&write_mutex_);
  std::vector<std::string> names;
  RETURN_IF_ERROR(
      FromRocksdb(db_->GetEnv()->GetChildren(options_.dir, &names), absl::StrCat(options_.dir)));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, kSortedFilePrefix)) continue;
    const std::string path = absl::StrCat(options_.dir, "/", name);
    RETURN_IF_ERROR(FromRocksdb(db_->GetEnv()->DeleteFile(path), path));
  }
  // Opening has written the log's blocks to files, whose key ranges the manifest knows: a damaged
  // file doesn't stop this.
  std::vector<rocksdb::LiveFileMetaData> files;
  db_->GetLiveFilesMetaData(&files);
  uint64_t last = 0;
  for (const rocksdb::LiveFileMetaData& file : files) {
    if (file.column_family_name != blocks_->GetName()) continue;
    ASSIGN_OR_RETURN(const BlockKey key, DecodeBlockKey(file.largestkey));
    last = std::max(last, key.epoch);
  }
  next_epoch_ = last + 1;
  return RemoveOrphans(last);
}

absl::Status Shard::RemoveOrphans(uint64_t epoch) {
  std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(rocksdb::ReadOptions(), blocks_));
  rocksdb::WriteBatch orphans;
  for (iterator->Seek(EncodeEpoch(epoch)); iterator->Valid(); iterator->Next()) {
    ASSIGN_OR_RETURN(const BlockKey key, DecodeBlockKey(ToView(iterator->key())));
    ASSIGN_OR_RETURN(const std::optional<IndexEntry> entry, FindEntry(key.block));
    if (!entry.has_value() || entry->epoch != key.epoch) orphans.Delete(blocks_, iterator->key());
  }
  if (!iterator->status().ok()) {
    LogWarning(absl::StrCat(options_.dir, ": ", iterator->status().ToString()));
  }
  if (orphans.Count() == 0) return absl::OkStatus();
  return Write(&orphans, "recovery");
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
    RefuseAll(ReadOnlyError(), statuses);
    return statuses;
  }
  absl::MutexLock write_lock(&write_mutex_);
  if (const absl::Status status = ResumeWrites(); !status.ok()) {
    RefuseAll(status, statuses);
    return statuses;
  }
  rocksdb::WriteBatch batch;
  std::vector<TraceId> ids;
  std::vector<CommittedTrace> committing;
  for (size_t i = 0; i < records.size(); ++i) {
    const TraceRecord& record = records[i];
    statuses[i] = [&]() -> absl::Status {
      RETURN_IF_ERROR(CheckRecord(record));
      ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(record.trace_id()));
      if (IsCommitted(id)) return absl::OkStatus();
      RETURN_IF_ERROR(CheckComplete(record, id, *identity()));
      batch.Put(records_, EncodeTraceId(id), record.SerializeAsString());
      ids.push_back(id);
      committing.push_back({record.split(), record.entries()});
      return absl::OkStatus();
    }();
  }
  if (ids.empty()) return statuses;
  const absl::Time begin = absl::Now();
  absl::Status status = Write(&batch, "commit");
  if (status.ok()) {
    {
      absl::MutexLock lock(&mutex_);
      for (size_t i = 0; i < ids.size(); ++i) committed_[ids[i]] = std::move(committing[i]);
    }
    // They are visible, but acknowledged only once they are listed, too.
    status = commits_.Append(ids);
  }
  options_.metrics.commit_seconds.Observe(absl::ToDoubleSeconds(absl::Now() - begin));
  if (status.ok()) options_.metrics.committed_traces.Add(static_cast<double>(ids.size()));
  options_.metrics.traces.Set(static_cast<double>(committed_traces()));
  if (!status.ok()) RefuseAll(status, statuses);
  return statuses;
}

absl::StatusOr<int64_t> Shard::Sweep(absl::Duration older_than) {
  if (options_.read_only) return ReadOnlyError();
  absl::MutexLock write_lock(&write_mutex_);
  RETURN_IF_ERROR(ResumeWrites());
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
    RETURN_IF_ERROR(
        ScanIndex(IndexPrefix(id), [&](const HeadBlockKey& key, const IndexEntry& entry) {
          batch.Delete(blocks_, EncodeBlockKey({entry.epoch, key}));
          batch.Delete(index_, EncodeIndexKey(key));
          if (batch.Count() < kSweepBatch) return absl::OkStatus();
          write_mutex_.AssertHeld();
          const absl::Status status = Write(&batch, "sweep");
          batch.Clear();
          return status;
        }));
    RETURN_IF_ERROR(Write(&batch, "sweep"));
    ++swept;
  }
  return swept;
}

}  // namespace kvp

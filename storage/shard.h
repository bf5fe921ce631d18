// Shard: the traces of a contiguous range of heads, on one disk, in one RocksDB.
//
// FORMAT.md describes its folder.
//
// Blocks come in batches. A large batch is an epoch of its own: it is sorted and written as one or
// two files, which become part of the database, so that every byte is written once, at the speed of
// the disk. Small ones go through the write-ahead log and are sorted in memory, together an epoch
// as large as the write buffer: written twice, but without a file for each.

#ifndef KVP_STORAGE_SHARD_H_
#define KVP_STORAGE_SHARD_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "proto/shard.pb.h"
#include "proto/trace.pb.h"
#include "storage/commit_list.h"
#include "storage/head_block.h"
#include "storage/key_encoding.h"
#include "storage/shard_metrics.h"
#include "util/head_split.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
class Env;
class WriteBatch;
}  // namespace rocksdb

namespace kvp {

// Owns the database and its background threads. Thread-safe; calls block on the disk. Writers
// exclude each other: many blocks a call are what makes writing fast. Errors of the disk are
// INTERNAL, of a full disk RESOURCE_EXHAUSTED, of damaged files DATA_LOSS.
class Shard {
 public:
  struct Options {
    std::string dir;
    // Its place in the split of heads over shards. Read from the data where read_only is set.
    int32_t shard_index = 0;
    int32_t shard_count = 1;
    // Nothing is written; writing calls are FAILED_PRECONDITION. Others may have the shard open,
    // for writing too.
    bool read_only = false;
    // Traces without a commit whose last block is older are deleted at open. Younger ones may
    // belong to a writer that is about to reconnect.
    absl::Duration sweep_older_than = absl::Hours(1);
    // Blocks are refused with RESOURCE_EXHAUSTED where they would take more than this on the disk;
    // 0: no limit.
    int64_t max_bytes = 0;
    // Batches of at least this many bytes become a sorted file.
    int64_t sorted_file_bytes = int64_t{4} << 20;
    int64_t write_buffer_bytes = int64_t{64} << 20;
    // Tables are read, and sorted files written, past the page cache, where the file system can do
    // that and `env` is null: a shard is larger than memory, and a pass over it reads a block once.
    bool direct_io = true;
    // What the files are written through, for tests of faults: must outlive the shard. Null: the
    // system's.
    rocksdb::Env* env = nullptr;
    // What is counted and measured; nothing by default.
    ShardMetrics metrics;

    absl::Status Validate() const;
  };

  struct Stats {
    int64_t committed_traces = 0;  // without the empty ones
    int64_t empty_traces = 0;      // committed without an entry (proto/trace.proto)
    int64_t uncommitted_traces = 0;
    // Of committed traces.
    int64_t blocks = 0;
    int64_t encoded_bytes = 0;
    // Tokens summed over blocks: one token in three heads counts three times.
    int64_t head_tokens = 0;
  };

  // Opens the shard, creating it unless read_only. NOT_FOUND where read_only and there is none;
  // FAILED_PRECONDITION where the data is of another format version, or of another place in the
  // split; DATA_LOSS, naming the file, where it is damaged other than in a block, or where a trace
  // that was committed is gone.
  static absl::StatusOr<std::unique_ptr<Shard>> Open(Options options);

  // Removes a shard's folder with everything in it, without opening it: neither a full disk nor
  // damage stands in the way. NOT_FOUND where there is none; FAILED_PRECONDITION where the folder
  // holds something else, or a process has the shard open.
  static absl::Status Drop(const std::string& dir);

  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // What a client says first. The first hello ever makes the shard that model's; a later one is
  // FAILED_PRECONDITION, naming the field, unless its model's fingerprint and geometry and its view
  // of the split are the same.
  absl::StatusOr<ShardIdentity> Hello(const ModelInfo& model, int32_t shard_index,
                                      int32_t shard_count);

  // Unset before the first hello.
  std::optional<ShardIdentity> identity() const;

  // INVALID_ARGUMENT, naming the field, where the block or record can't belong here;
  // FAILED_PRECONDITION before the first hello.
  absl::Status CheckBlock(const HeadBlockView& block) const;
  absl::Status CheckRecord(const TraceRecord& record) const;

  // Stores the blocks that aren't there yet; they are durable on return. One status a block:
  // FAILED_PRECONDITION where the trace is committed without this block, or the block holds other
  // tokens than before.
  std::vector<absl::Status> PutBlocks(absl::Span<const HeadBlockView> blocks);

  // Makes traces visible, durably. One status a record: FAILED_PRECONDITION where a block is
  // missing: every head of the shard must have blocks 0, 1, … that hold tokens [0, entries),
  // record.blocks in all.
  std::vector<absl::Status> Commit(absl::Span<const TraceRecord> records);

  // Of `ids`, the committed ones.
  std::vector<TraceId> Committed(absl::Span<const TraceId> ids) const;
  int64_t committed_traces() const;

  // The committed traces of `split` ("" for all) but the empty ones, by ascending id. An error of
  // `consume` ends the list.
  absl::Status List(const std::string& split,
                    const std::function<absl::Status(TraceRecord record)>& consume) const;

  // `encoded` is DATA_LOSS for a block that can't be read from the disk, or is missing. Its
  // checksum has not been checked.
  using BlockConsumer = std::function<absl::Status(
      const HeadBlockKey& key, const absl::StatusOr<absl::string_view>& encoded)>;

  struct ScanOptions {
    // "" for all.
    std::string split;
    // The order of traces (storage/trace_order.h); a trace's blocks come in theirs.
    uint64_t order_seed = 0;
    // Where there are any: these traces alone, in this order, whatever split and order_seed.
    std::vector<TraceId> traces;
    // Where set, the scan begins after this block.
    std::optional<HeadBlockKey> after;
    // That read ahead of `consume`.
    int threads = 4;
  };
  // The head's blocks of the traces that were committed when the scan began. An error of `consume`
  // ends the scan.
  absl::Status ScanHead(HeadId head, const ScanOptions& options,
                        const BlockConsumer& consume) const;

  // Every block, committed or not, by ascending trace id.
  absl::Status ScanAll(const BlockConsumer& consume) const;

  // What is there of a trace, committed or not, in a message of at most `max_bytes`: what would
  // exceed that is left out.
  absl::StatusOr<HeldBlocks> Held(const TraceId& id, int64_t max_bytes) const;

  // Deletes the blocks of traces without a commit, the last of whose blocks is older than
  // `older_than`. Returns how many traces that were.
  absl::StatusOr<int64_t> Sweep(absl::Duration older_than);

  // Bytes of blocks on the disk and on their way there.
  int64_t StoredBytes() const;

  // A copy of the shard as it is now, in checkpoints/NAME of its folder, made of hard links;
  // returns the copy's path. Writers wait meanwhile. INVALID_ARGUMENT unless the name has only
  // letters, digits, '.', '_' and '-', at most 64, the first a letter or digit, and doesn't end in
  // ".tmp"; ALREADY_EXISTS.
  absl::StatusOr<std::string> Checkpoint(const std::string& name);

  // Rewrites the files without what was deleted from them.
  absl::Status Compact();

  // The record of a committed trace, and the entries of its blocks. NOT_FOUND.
  struct TraceDetail {
    TraceRecord record;
    std::vector<std::pair<HeadBlockKey, IndexEntry>> blocks;
  };
  absl::StatusOr<TraceDetail> Describe(const TraceId& id) const;

  // Reads the whole index.
  absl::StatusOr<Stats> GetStats() const;

  const ShardMetrics& metrics() const { return options_.metrics; }

 private:
  static constexpr int32_t kFormatVersion = 2;
  static constexpr char kIdentityKey[] = "identity";

  explicit Shard(Options options);

  absl::Status LoadForReading();
  absl::Status OpenForWriting();
  absl::StatusOr<std::optional<CommitList::Contents>> ListedCommits();
  std::set<std::string> LogFiles() const;
  // Opens the database and takes from it what is kept in memory. DATA_LOSS unless all of `listed`
  // are committed in it.
  absl::Status Load(const std::optional<CommitList::Contents>& listed, bool read_only);
  absl::Status OpenDatabase(bool read_only);
  void CloseDatabase();
  absl::Status LoadIdentity();
  absl::Status LoadCommitted();
  rocksdb::Env* Environment() const;
  // Whether the folder's files can be opened past the page cache.
  bool CanDoDirectIo() const;
  // Removes what a crash in the middle of a write has left.
  absl::Status Recover();
  // Removes the epoch's blocks that have no entry: only the last sorted file can have been added
  // without its entries.
  absl::Status RemoveOrphans(uint64_t epoch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status CheckComplete(const TraceRecord& record, const TraceId& id,
                             const ShardIdentity& identity) const;
  absl::Status ForEachRecord(const std::function<absl::Status(TraceRecord record)>& consume) const;
  // Calls `consume` for every entry whose key begins with `prefix`.
  absl::Status ScanIndex(
      absl::string_view prefix,
      const std::function<absl::Status(const HeadBlockKey&, const IndexEntry&)>& consume) const;
  bool IsCommitted(const TraceId& id) const;
  std::vector<TraceId> AllCommitted() const;
  struct TraceToScan {
    TraceId id{};
    int32_t entries = 0;
  };
  std::vector<TraceToScan> TracesToScan(const ScanOptions& options) const;
  std::vector<TraceToScan> NamedTracesToScan(const ScanOptions& options) const;

  struct NewBlock {
    HeadBlockKey key;
    IndexEntry entry;
    absl::string_view encoded;
  };
  // Durably. Set the entries' epochs.
  absl::Status Store(std::vector<NewBlock>& blocks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status FlushBlocks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status StoreLogged(std::vector<NewBlock>& blocks, int64_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status StoreSorted(std::vector<NewBlock>& blocks)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  using SortedBlocks = absl::Span<const std::pair<std::string, absl::string_view>>;
  // Ascending keys, and values, as one or two files.
  absl::Status AddSortedFiles(uint64_t epoch, SortedBlocks sorted);
  absl::Status WriteSortedFile(const std::string& path, SortedBlocks sorted) const;
  absl::Status CheckRoom(int64_t bytes) const;
  void MeasureDisk() const;
  // To be called before looking at the index in order to write. Ends what a failed write has left:
  // after a full disk RocksDB writes again only when told to, the last sorted file may still be
  // without its entries, and commits without theirs in the list. RESOURCE_EXHAUSTED while RocksDB
  // clears up.
  absl::Status ResumeWrites() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  // Durably. `what` is for the message.
  absl::Status Write(rocksdb::WriteBatch* batch, absl::string_view what)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::StatusOr<std::optional<IndexEntry>> FindEntry(const HeadBlockKey& key) const;

  const Options options_;
  // Set once RocksDB has stopped over a failed write, be it that it could go on since.
  const std::shared_ptr<std::atomic<bool>> stopped_once_;
  bool direct_io_ = false;
  std::unique_ptr<rocksdb::DB> db_;
  // Owned by db_; destroyed before it.
  rocksdb::ColumnFamilyHandle* default_ = nullptr;
  rocksdb::ColumnFamilyHandle* blocks_ = nullptr;
  rocksdb::ColumnFamilyHandle* index_ = nullptr;
  rocksdb::ColumnFamilyHandle* records_ = nullptr;

  // Held over a write and the look at the index before it. Taken before mutex_.
  absl::Mutex write_mutex_;
  uint64_t next_epoch_ ABSL_GUARDED_BY(write_mutex_) = 1;
  // The epoch of the blocks that go through the log now, 0 before the first, and their bytes.
  uint64_t logged_epoch_ ABSL_GUARDED_BY(write_mutex_) = 0;
  int64_t logged_bytes_ ABSL_GUARDED_BY(write_mutex_) = 0;
  // The entries of the last sorted file, as a write batch, where writing them failed.
  std::string unwritten_entries_ ABSL_GUARDED_BY(write_mutex_);
  CommitList commits_ ABSL_GUARDED_BY(write_mutex_);
  mutable absl::Mutex mutex_;
  std::optional<ShardIdentity> identity_ ABSL_GUARDED_BY(mutex_);
  struct CommittedTrace {
    std::string split;
    int32_t entries = 0;
  };
  std::map<TraceId, CommittedTrace> committed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvp

#endif  // KVP_STORAGE_SHARD_H_

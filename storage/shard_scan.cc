// The reading half of Shard.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "storage/rocksdb_util.h"
#include "storage/shard.h"
#include "util/status_macros.h"

namespace kvp {

absl::Status Shard::List(const std::string& split,
                         const std::function<absl::Status(TraceRecord record)>& consume) const {
  std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(rocksdb::ReadOptions(), records_));
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
    TraceRecord record;
    if (!record.ParseFromArray(iterator->value().data(),
                               static_cast<int>(iterator->value().size())) ||
        record.trace_id() != ToView(iterator->key())) {
      return absl::DataLossError(absl::StrCat(options_.dir, ": the record of trace ",
                                              iterator->key().ToString(true), " is damaged"));
    }
    if (!split.empty() && record.split() != split) continue;
    RETURN_IF_ERROR(consume(std::move(record)));
  }
  return FromRocksdb(iterator->status(), absl::StrCat(options_.dir, ": records"));
}

absl::Status Shard::ScanIndex(
    absl::string_view prefix,
    const std::function<absl::Status(const HeadBlockKey&, const IndexEntry&)>& consume) const {
  std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(rocksdb::ReadOptions(), index_));
  for (iterator->Seek(ToSlice(prefix)); iterator->Valid(); iterator->Next()) {
    if (!absl::StartsWith(ToView(iterator->key()), prefix)) break;
    ASSIGN_OR_RETURN(const HeadBlockKey key, DecodeIndexKey(ToView(iterator->key())));
    ASSIGN_OR_RETURN(const IndexEntry entry, DecodeIndexEntry(ToView(iterator->value())));
    RETURN_IF_ERROR(consume(key, entry));
  }
  return FromRocksdb(iterator->status(), absl::StrCat(options_.dir, ": index"));
}

absl::Status Shard::ScanHead(HeadId head, const std::string& split,
                             const std::optional<HeadBlockKey>& after,
                             const BlockConsumer& consume) const {
  std::vector<TraceId> ids;
  {
    absl::MutexLock lock(&mutex_);
    for (auto trace = after.has_value() ? committed_.lower_bound(after->trace_id)
                                        : committed_.begin();
         trace != committed_.end(); ++trace) {
      if (split.empty() || trace->second == split) ids.push_back(trace->first);
    }
  }
  const rocksdb::Snapshot* snapshot = db_->GetSnapshot();
  const auto release = absl::MakeCleanup([this, snapshot] { db_->ReleaseSnapshot(snapshot); });
  rocksdb::ReadOptions read_options;
  read_options.snapshot = snapshot;
  // Blocks are read once a pass: caching them would only push the keys out.
  read_options.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> index(db_->NewIterator(read_options, index_));
  rocksdb::PinnableSlice value;
  for (const TraceId& id : ids) {
    const std::string prefix = IndexPrefix(id, head);
    for (index->Seek(prefix); index->Valid() && index->key().starts_with(prefix); index->Next()) {
      ASSIGN_OR_RETURN(const HeadBlockKey key, DecodeIndexKey(ToView(index->key())));
      ASSIGN_OR_RETURN(const IndexEntry entry, DecodeIndexEntry(ToView(index->value())));
      if (after.has_value() && id == after->trace_id && key.block <= after->block) continue;
      // A Get a block rather than an iterator over them: an iterator ends at a damaged one.
      const rocksdb::Status got =
          db_->Get(read_options, blocks_, EncodeBlockKey({entry.epoch, key}), &value);
      absl::StatusOr<absl::string_view> encoded = ToView(value);
      if (!got.ok()) encoded = absl::DataLossError(got.ToString());
      RETURN_IF_ERROR(consume(key, encoded));
      value.Reset();
    }
    RETURN_IF_ERROR(FromRocksdb(index->status(), absl::StrCat(options_.dir, ": index")));
  }
  return absl::OkStatus();
}

absl::Status Shard::ScanAll(const BlockConsumer& consume) const {
  rocksdb::ReadOptions read_options;
  read_options.fill_cache = false;
  rocksdb::PinnableSlice value;
  return ScanIndex("", [&](const HeadBlockKey& key, const IndexEntry& entry) -> absl::Status {
    const rocksdb::Status got =
        db_->Get(read_options, blocks_, EncodeBlockKey({entry.epoch, key}), &value);
    absl::StatusOr<absl::string_view> encoded = ToView(value);
    if (!got.ok()) encoded = absl::DataLossError(got.ToString());
    const absl::Status status = consume(key, encoded);
    value.Reset();
    return status;
  });
}

absl::StatusOr<Shard::Stats> Shard::GetStats() const {
  Stats stats;
  absl::flat_hash_set<TraceId> uncommitted;
  RETURN_IF_ERROR(
      ScanIndex("", [&](const HeadBlockKey& key, const IndexEntry& entry) -> absl::Status {
        if (!IsCommitted(key.trace_id)) {
          uncommitted.insert(key.trace_id);
          return absl::OkStatus();
        }
        ++stats.blocks;
        stats.encoded_bytes += entry.encoded_bytes;
        stats.head_tokens += entry.tokens;
        return absl::OkStatus();
      }));
  stats.committed_traces = committed_traces();
  stats.uncommitted_traces = uncommitted.size();
  return stats;
}

}  // namespace kvp

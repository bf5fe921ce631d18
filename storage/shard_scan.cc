// The reading half of Shard.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "storage/block_fetcher.h"
#include "storage/rocksdb_util.h"
#include "storage/shard.h"
#include "storage/trace_order.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// What a scan reads ahead for each of its threads.
constexpr int64_t kAheadBytes = int64_t{512} << 10;

}  // namespace

absl::Status Shard::ForEachRecord(
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
    RETURN_IF_ERROR(consume(std::move(record)));
  }
  return FromRocksdb(iterator->status(), absl::StrCat(options_.dir, ": records"));
}

absl::Status Shard::List(const std::string& split,
                         const std::function<absl::Status(TraceRecord record)>& consume) const {
  return ForEachRecord([&](TraceRecord record) -> absl::Status {
    if (record.entries() == 0) return absl::OkStatus();
    if (!split.empty() && record.split() != split) return absl::OkStatus();
    ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(record.trace_id()));
    // Else it came while the shard was opened.
    if (!IsCommitted(id)) return absl::OkStatus();
    return consume(std::move(record));
  });
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

std::vector<Shard::TraceToScan> Shard::NamedTracesToScan(const ScanOptions& options) const {
  auto id = options.traces.begin();
  if (options.after.has_value()) {
    id = std::find(options.traces.begin(), options.traces.end(), options.after->trace_id);
  }
  std::vector<TraceToScan> traces;
  absl::MutexLock lock(&mutex_);
  for (; id != options.traces.end(); ++id) {
    const auto trace = committed_.find(*id);
    if (trace != committed_.end()) traces.push_back({*id, trace->second.entries});
  }
  return traces;
}

std::vector<Shard::TraceToScan> Shard::TracesToScan(const ScanOptions& options) const {
  if (!options.traces.empty()) return NamedTracesToScan(options);
  const TraceOrder order(options.order_seed);
  std::vector<TraceToScan> traces;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, trace] : committed_) {
      if (!options.split.empty() && trace.split != options.split) continue;
      if (options.after.has_value() && order.Before(id, options.after->trace_id)) continue;
      traces.push_back({id, trace.entries});
    }
  }
  std::sort(traces.begin(), traces.end(), [&order](const TraceToScan& a, const TraceToScan& b) {
    return order.Before(a.id, b.id);
  });
  return traces;
}

absl::Status Shard::ScanHead(HeadId head, const ScanOptions& options,
                             const BlockConsumer& consume) const {
  options_.metrics.head_reads.Add();
  const std::vector<TraceToScan> traces = TracesToScan(options);
  // No snapshot: a committed trace is all there and never changes, and RocksDB rewrites the files
  // that are older than a snapshot once it is released.
  rocksdb::ReadOptions read_options;
  // Blocks are read once a pass: caching them would only push the keys out. RocksDB's checksums are
  // checked beside the blocks' own: it believes what it parses, and ends the process if that makes
  // no sense.
  read_options.fill_cache = false;
  // A Get a block rather than an iterator over them: an iterator ends at a damaged one.
  BlockFetcher fetcher(options.threads, [&](const BlockKey& key, rocksdb::PinnableSlice* encoded) {
    return db_->Get(read_options, blocks_, EncodeBlockKey(key), encoded);
  });
  const auto give = [&]() -> absl::Status {
    const std::unique_ptr<BlockFetcher::Fetched> fetched = fetcher.Next();
    absl::StatusOr<absl::string_view> encoded = ToView(fetched->encoded);
    if (fetched->status.ok()) {
      options_.metrics.read_blocks.Add();
      options_.metrics.read_bytes.Add(static_cast<double>(encoded->size()));
    } else {
      options_.metrics.corrupt_blocks.Add();
      encoded = absl::DataLossError(fetched->status.ToString());
    }
    return consume(fetched->key.block, encoded);
  };
  std::unique_ptr<rocksdb::Iterator> index(db_->NewIterator(rocksdb::ReadOptions(), index_));
  for (const TraceToScan& trace : traces) {
    // The first block that the index hasn't shown yet, and its first token.
    HeadBlockKey next{head, trace.id, 0};
    int64_t next_token = 0;
    const auto wanted = [&options](const HeadBlockKey& key) {
      const std::optional<HeadBlockKey>& after = options.after;
      return !after.has_value() || key.trace_id != after->trace_id || key.block > after->block;
    };
    const auto report_missing = [&]() -> absl::Status {
      if (!wanted(next)) return absl::OkStatus();
      while (fetcher.outstanding() > 0) RETURN_IF_ERROR(give());
      options_.metrics.corrupt_blocks.Add();
      return consume(next, absl::DataLossError(absl::StrCat(
                               "the index has no entry for the tokens from ", next_token, " on")));
    };
    const std::string prefix = IndexPrefix(trace.id, head);
    for (index->Seek(prefix); index->Valid() && index->key().starts_with(prefix); index->Next()) {
      ASSIGN_OR_RETURN(const HeadBlockKey key, DecodeIndexKey(ToView(index->key())));
      ASSIGN_OR_RETURN(const IndexEntry entry, DecodeIndexEntry(ToView(index->value())));
      if (entry.first_token != next_token) RETURN_IF_ERROR(report_missing());
      next.block = key.block + 1;
      next_token = int64_t{entry.first_token} + entry.tokens;
      if (!wanted(key)) continue;
      fetcher.Ask({entry.epoch, key}, entry.encoded_bytes);
      while (fetcher.outstanding() > 1 &&
             fetcher.outstanding_bytes() > options.threads * kAheadBytes) {
        RETURN_IF_ERROR(give());
      }
    }
    RETURN_IF_ERROR(FromRocksdb(index->status(), absl::StrCat(options_.dir, ": index")));
    if (next_token != trace.entries) RETURN_IF_ERROR(report_missing());
  }
  while (fetcher.outstanding() > 0) RETURN_IF_ERROR(give());
  return absl::OkStatus();
}

absl::Status Shard::ScanAll(const BlockConsumer& consume) const {
  rocksdb::ReadOptions read_options;
  read_options.fill_cache = false;
  rocksdb::PinnableSlice value;
  return ScanIndex("", [&](const HeadBlockKey& key, const IndexEntry& entry) -> absl::Status {
    const rocksdb::Status got =
        db_->Get(read_options, blocks_, EncodeBlockKey({entry.epoch, key}), &value);
    // Else it came while the shard was opened.
    if (got.IsNotFound() && options_.read_only && !IsCommitted(key.trace_id)) {
      return absl::OkStatus();
    }
    absl::StatusOr<absl::string_view> encoded = ToView(value);
    if (!got.ok()) encoded = absl::DataLossError(got.ToString());
    const absl::Status status = consume(key, encoded);
    value.Reset();
    return status;
  });
}

absl::StatusOr<HeldBlocks> Shard::Held(const TraceId& id, int64_t max_bytes) const {
  // Of a varint; of a head's message without its blocks.
  constexpr int64_t kNumberBytes = 10;
  constexpr int64_t kHeadBytes = 4 * kNumberBytes;
  HeldBlocks held;
  held.set_trace_id(std::string(id.begin(), id.end()));
  int64_t bytes = kHeadBytes;
  HeldHead* head = nullptr;
  // The first block of `head` that hasn't come yet, and its first token.
  int32_t next_block = 0;
  int64_t next_token = 0;
  RETURN_IF_ERROR(ScanIndex(IndexPrefix(id), [&](const HeadBlockKey& key, const IndexEntry& entry) {
    const bool same_head =
        head != nullptr && head->layer() == key.head.layer && head->kv_head() == key.head.kv_head;
    bytes += kNumberBytes + (same_head ? 0 : kHeadBytes);
    if (bytes > max_bytes) return absl::OkStatus();
    if (!same_head) {
      head = held.add_heads();
      head->set_layer(key.head.layer);
      head->set_kv_head(key.head.kv_head);
      next_block = 0;
      next_token = 0;
    }
    if (key.block != next_block || entry.first_token != next_token) return absl::OkStatus();
    head->add_tokens(entry.tokens);
    ++next_block;
    next_token += entry.tokens;
    return absl::OkStatus();
  }));
  return held;
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
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, trace] : committed_) {
      ++(trace.entries == 0 ? stats.empty_traces : stats.committed_traces);
    }
  }
  stats.uncommitted_traces = uncommitted.size();
  return stats;
}

}  // namespace kvp

#include "storage/shard.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/write_batch.h"
#include "storage/rocksdb_util.h"
#include "storage/shard_checks.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {

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

Shard::Shard(Options options)
    : options_(std::move(options)),
      stopped_once_(std::make_shared<std::atomic<bool>>(false)),
      commits_(options_.env != nullptr ? options_.env : rocksdb::Env::Default(), options_.dir) {}

Shard::~Shard() { CloseDatabase(); }

absl::StatusOr<ShardIdentity> Shard::Hello(const ModelInfo& model, int32_t shard_index,
                                           int32_t shard_count) {
  if (options_.read_only) return absl::FailedPreconditionError("the shard is open read-only");
  RETURN_IF_ERROR(CheckModel(model));
  if (shard_index != options_.shard_index || shard_count != options_.shard_count) {
    return absl::FailedPreconditionError(
        absl::StrCat("this is shard ", options_.shard_index, " of ", options_.shard_count,
                     ", but the client takes it for shard ", shard_index, " of ", shard_count));
  }
  const auto same = [&model](const ShardIdentity& held) -> absl::StatusOr<ShardIdentity> {
    RETURN_IF_ERROR(CheckSameModel(model, held.model()));
    return held;
  };
  // Without waiting for a write that is under way.
  if (const std::optional<ShardIdentity> held = identity(); held.has_value()) return same(*held);
  absl::MutexLock write_lock(&write_mutex_);
  if (const std::optional<ShardIdentity> held = identity(); held.has_value()) return same(*held);
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

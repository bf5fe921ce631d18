// LocalShard: a shard's folder as a ShardSource.

#include <optional>
#include <utility>

#include "storage/channel.h"
#include "storage/shard.h"
#include "storage/shard_source.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

class LocalShardSource final : public ShardSource {
 public:
  LocalShardSource(const std::string& dir, std::unique_ptr<Shard> shard)
      : name_(ShardName(dir)), shard_(std::move(shard)) {}

  const std::string& name() const override { return name_; }
  bool grows() const override { return false; }

  absl::StatusOr<ShardIdentity> Identity() override {
    return shard_->identity().value_or(ShardIdentity());
  }

  absl::StatusOr<std::vector<TraceRecord>> List(const std::string& split, bool ids_only) override {
    std::vector<TraceRecord> records;
    RETURN_IF_ERROR(shard_->List(split, [&](TraceRecord record) {
      if (ids_only) {
        TraceRecord id;
        *id.mutable_trace_id() = std::move(*record.mutable_trace_id());
        id.set_blocks(record.blocks());
        record = std::move(id);
      }
      records.push_back(std::move(record));
      return absl::OkStatus();
    }));
    return records;
  }

  absl::Status ReadHead(const HeadRequest& request, const BlockConsumer& consume) override {
    Shard::ScanOptions options;
    options.split = request.split;
    options.order_seed = request.order_seed;
    options.traces = request.traces;
    if (request.after_trace != nullptr) {
      options.after.emplace();
      options.after->head = request.head;
      options.after->trace_id = *request.after_trace;
      options.after->block = INT32_MAX;
    }
    return shard_->ScanHead(
        request.head, options,
        [&](const HeadBlockKey& key, const absl::StatusOr<absl::string_view>& encoded) {
          return consume(key.trace_id, key.block, encoded);
        });
  }

 private:
  const std::string name_;
  const std::unique_ptr<Shard> shard_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ShardSource>> LocalShard(const std::string& dir) {
  Shard::Options options;
  options.dir = dir;
  options.read_only = true;
  ASSIGN_OR_RETURN(std::unique_ptr<Shard> shard, Shard::Open(std::move(options)));
  return std::make_unique<LocalShardSource>(dir, std::move(shard));
}

}  // namespace kvp

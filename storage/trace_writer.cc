#include "storage/trace_writer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "proto/ingest.grpc.pb.h"
#include "storage/channel.h"
#include "storage/shard_checks.h"
#include "storage/shard_stream.h"
#include "util/head_split.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Ids in one request: far below the message cap.
constexpr size_t kIdsPerRequest = 100'000;

class StreamingTraceWriter final : public TraceWriter {
 public:
  StreamingTraceWriter(Options options, std::vector<HeadRange> ranges)
      : options_(std::move(options)), ranges_(std::move(ranges)), blocks_(ranges_.size(), 0) {}

  absl::Status ConnectAll() {
    // All of them try at the same time.
    for (size_t i = 0; i < options_.shards.size(); ++i) {
      ShardStream::Options options;
      options.address = options_.shards[i];
      ASSIGN_OR_RETURN(options.channel, MakeChannel(options.address, options_.tls));
      options.hello.set_protocol_version(kIngestProtocolVersion);
      *options.hello.mutable_model() = options_.model;
      options.hello.set_shard_index(static_cast<int32_t>(i));
      options.hello.set_shard_count(static_cast<int32_t>(options_.shards.size()));
      options.window_bytes = options_.window_bytes / options_.shards.size();
      options.reconnect_deadline = options_.reconnect_deadline;
      options.cancelled = options_.cancelled;
      streams_.push_back(std::make_unique<ShardStream>(std::move(options)));
    }
    for (size_t i = 0; i < streams_.size(); ++i) {
      RETURN_IF_ERROR(streams_[i]->WaitForHello());
      const ShardIdentity identity = streams_[i]->identity();
      if (identity.head_begin() != ranges_[i].begin || identity.head_end() != ranges_[i].end) {
        return absl::FailedPreconditionError(absl::StrCat(
            ShardName(options_.shards[i]), ": holds heads [", identity.head_begin(), ", ",
            identity.head_end(), "), not [", ranges_[i].begin, ", ", ranges_[i].end, ")"));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<TraceId>> Committed(absl::Span<const TraceId> ids) override {
    std::vector<TraceId> committed(ids.begin(), ids.end());
    for (const std::unique_ptr<ShardStream>& stream : streams_) {
      absl::flat_hash_set<TraceId> here;
      const auto stub = TraceIngestion::NewStub(
          std::shared_ptr<grpc::ChannelInterface>(&stream->channel(), [](auto*) {}));
      for (size_t begin = 0; begin < committed.size(); begin += kIdsPerRequest) {
        CommittedRequest request;
        for (size_t i = begin; i < std::min(begin + kIdsPerRequest, committed.size()); ++i) {
          request.add_trace_ids(std::string(committed[i].begin(), committed[i].end()));
        }
        CommittedResponse response;
        RETURN_IF_ERROR(CallWithRetry(
            stream->channel(), stream->address(), options_.reconnect_deadline,
            options_.reconnect_deadline,
            [&](grpc::ClientContext& context) {
              response.Clear();
              return stub->Committed(&context, request, &response);
            },
            options_.cancelled));
        for (const std::string& bytes : response.trace_ids()) {
          ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(bytes));
          here.insert(id);
        }
      }
      std::vector<TraceId> kept;
      for (const TraceId& id : committed) {
        if (here.contains(id)) kept.push_back(id);
      }
      committed = std::move(kept);
    }
    return committed;
  }

  absl::Status Add(const HeadBlock& block) override { return OrAbandon(TryAdd(block)); }

  absl::Status Commit(TraceRecord record) override {
    RETURN_IF_ERROR(OrAbandon(TryCommit(std::move(record))));
    Begin();
    return absl::OkStatus();
  }

  int64_t acknowledged_bytes() const override {
    int64_t bytes = 0;
    for (const std::unique_ptr<ShardStream>& stream : streams_) {
      bytes += stream->acknowledged_bytes();
    }
    return bytes;
  }

  int64_t held_bytes() const override {
    int64_t bytes = 0;
    for (const std::unique_ptr<ShardStream>& stream : streams_) bytes += stream->held_bytes();
    return bytes;
  }

 private:
  // Ready for a new trace.
  void Begin() {
    trace_id_.reset();
    blocks_.assign(blocks_.size(), 0);
  }

  absl::Status OrAbandon(absl::Status status) {
    if (status.ok()) return status;
    for (const std::unique_ptr<ShardStream>& stream : streams_) stream->Reset();
    Begin();
    return status;
  }

  absl::StatusOr<size_t> ShardOf(HeadId head) const {
    const int64_t index = head.Index(options_.model.kv_heads());
    if (head.layer >= 0 && head.kv_head >= 0 && head.kv_head < options_.model.kv_heads()) {
      for (size_t i = 0; i < ranges_.size(); ++i) {
        if (ranges_[i].contains(index)) return i;
      }
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "layer ", head.layer, " kv_head ", head.kv_head, " is no head of a model with ",
        options_.model.layers(), " layers of ", options_.model.kv_heads(), " KV heads"));
  }

  absl::Status TryAdd(const HeadBlock& block) {
    if (trace_id_.has_value() && *trace_id_ != block.key.trace_id) {
      return absl::InvalidArgumentError(
          absl::StrCat("trace_id is ", TraceIdText(block.key.trace_id), ", but trace ",
                       TraceIdText(*trace_id_), " isn't committed yet"));
    }
    trace_id_ = block.key.trace_id;
    ASSIGN_OR_RETURN(const size_t shard, ShardOf(block.key.head));
    RETURN_IF_ERROR(streams_[shard]->SendBlock(block));
    ++blocks_[shard];
    return absl::OkStatus();
  }

  absl::Status TryCommit(TraceRecord record) {
    if (trace_id_.has_value() &&
        record.trace_id() != std::string(trace_id_->begin(), trace_id_->end())) {
      return absl::InvalidArgumentError(
          absl::StrCat("record.trace_id isn't that of the blocks, ", TraceIdText(*trace_id_)));
    }
    for (const std::unique_ptr<ShardStream>& stream : streams_) RETURN_IF_ERROR(stream->Flush());
    for (size_t i = 0; i < streams_.size(); ++i) {
      record.set_blocks(blocks_[i]);
      RETURN_IF_ERROR(streams_[i]->SendCommit(record));
    }
    for (const std::unique_ptr<ShardStream>& stream : streams_) RETURN_IF_ERROR(stream->Flush());
    return absl::OkStatus();
  }

  const Options options_;
  const std::vector<HeadRange> ranges_;
  std::vector<std::unique_ptr<ShardStream>> streams_;
  // The trace being written, and its blocks so far on each shard.
  std::optional<TraceId> trace_id_;
  std::vector<int32_t> blocks_;
};

}  // namespace

absl::Status TraceWriter::Options::Validate() const {
  if (shards.empty()) return absl::InvalidArgumentError("shards is empty");
  for (const std::string& address : shards) {
    RETURN_IF_ERROR(ParseHostPort(address).status());
  }
  if (window_bytes < static_cast<int64_t>(shards.size())) {
    return absl::InvalidArgumentError(absl::StrCat("window_bytes is ", window_bytes));
  }
  return CheckModel(model);
}

absl::StatusOr<std::unique_ptr<TraceWriter>> TraceWriter::Connect(Options options) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(std::vector<HeadRange> ranges,
                   SplitHeads(int64_t{options.model.layers()} * options.model.kv_heads(),
                              options.shards.size()));
  auto writer = std::make_unique<StreamingTraceWriter>(std::move(options), std::move(ranges));
  RETURN_IF_ERROR(writer->ConnectAll());
  return writer;
}

}  // namespace kvp

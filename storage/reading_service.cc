#include "storage/reading_service.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/grpc_status.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// A response is sent once it has this much: the size at which gRPC is fastest, and far below its
// cap.
constexpr size_t kResponseBytes = size_t{512} << 10;

absl::StatusOr<std::optional<HeadBlockKey>> Beginning(const ReadHeadRequest& request, HeadId head) {
  if (request.after_trace_id().empty()) return std::nullopt;
  absl::StatusOr<TraceId> id = TraceIdFromBytes(request.after_trace_id());
  if (!id.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("after_", id.status().message()));
  }
  HeadBlockKey after;
  after.head = head;
  after.trace_id = *id;
  after.block = request.after_block();
  return after;
}

absl::StatusOr<std::vector<TraceId>> NamedTraces(const ReadHeadRequest& request) {
  std::vector<TraceId> traces;
  for (const std::string& bytes : request.trace_ids()) {
    ASSIGN_OR_RETURN(traces.emplace_back(), TraceIdFromBytes(bytes));
  }
  return traces;
}

void SetPosition(const HeadBlockKey& key, BlockPosition* position) {
  position->set_trace_id(std::string(key.trace_id.begin(), key.trace_id.end()));
  position->set_block(key.block);
}

}  // namespace

absl::Status ReadingService::CheckGoesOn(grpc::ServerContext* context) const {
  if (draining_) return absl::UnavailableError("the shard is shutting down");
  if (context->IsCancelled()) return absl::CancelledError("the client went away");
  return absl::OkStatus();
}

grpc::Status ReadingService::GetShard(grpc::ServerContext* /*context*/,
                                      const GetShardRequest* /*request*/,
                                      GetShardResponse* response) {
  if (std::optional<ShardIdentity> identity = shard_->identity(); identity.has_value()) {
    *response->mutable_identity() = *std::move(identity);
  }
  response->set_committed_traces(shard_->committed_traces());
  return grpc::Status::OK;
}

grpc::Status ReadingService::ListTraces(grpc::ServerContext* context,
                                        const ListTracesRequest* request,
                                        grpc::ServerWriter<ListTracesResponse>* writer) {
  ListTracesResponse response;
  size_t bytes = 0;
  const auto send = [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckGoesOn(context));
    if (!writer->Write(response)) return absl::CancelledError("the client went away");
    response.Clear();
    bytes = 0;
    return absl::OkStatus();
  };
  absl::Status status = shard_->List(request->split(), [&](TraceRecord record) -> absl::Status {
    if (request->ids_only()) {
      TraceRecord id;
      *id.mutable_trace_id() = std::move(*record.mutable_trace_id());
      id.set_blocks(record.blocks());
      record = std::move(id);
    }
    const size_t record_bytes = record.ByteSizeLong();
    if (bytes > 0 && bytes + record_bytes > kResponseBytes) RETURN_IF_ERROR(send());
    bytes += record_bytes;
    *response.add_records() = std::move(record);
    return absl::OkStatus();
  });
  if (status.ok() && bytes > 0) status = send();
  return ToGrpc(status);
}

grpc::Status ReadingService::ReadHead(grpc::ServerContext* context, const ReadHeadRequest* request,
                                      grpc::ServerWriter<ReadHeadResponse>* writer) {
  const std::optional<ShardIdentity> identity = shard_->identity();
  if (!identity.has_value()) {
    return ToGrpc(absl::FailedPreconditionError("the shard holds no traces yet"));
  }
  const HeadId head{request->layer(), request->kv_head()};
  const int32_t kv_heads = identity->model().kv_heads();
  const int64_t index = head.Index(kv_heads);
  if (head.kv_head < 0 || head.kv_head >= kv_heads || index < identity->head_begin() ||
      index >= identity->head_end()) {
    return ToGrpc(absl::InvalidArgumentError(absl::StrCat(
        "layer ", head.layer, " kv_head ", head.kv_head, " is outside of this shard's heads [",
        identity->head_begin(), ", ", identity->head_end(), ") with ", kv_heads, " a layer")));
  }
  const absl::StatusOr<std::optional<HeadBlockKey>> after = Beginning(*request, head);
  if (!after.ok()) return ToGrpc(after.status());
  absl::StatusOr<std::vector<TraceId>> traces = NamedTraces(*request);
  if (!traces.ok()) return ToGrpc(traces.status());

  ReadHeadResponse response;
  size_t bytes = 0;
  const auto send = [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckGoesOn(context));
    if (!writer->Write(response)) return absl::CancelledError("the client went away");
    response.Clear();
    bytes = 0;
    return absl::OkStatus();
  };
  Shard::ScanOptions options;
  options.split = request->split();
  options.order_seed = request->order_seed();
  options.traces = *std::move(traces);
  options.after = *after;
  absl::Status status = shard_->ScanHead(
      head, options,
      [&](const HeadBlockKey& key,
          const absl::StatusOr<absl::string_view>& encoded) -> absl::Status {
        if (!encoded.ok()) {
          LogWarning(absl::StrCat(HeadBlockKeyText(key), " skipped: ", encoded.status().message()));
          SetPosition(key, response.add_unreadable());
          bytes += response.unreadable(response.unreadable_size() - 1).ByteSizeLong();
          return bytes > kResponseBytes ? send() : absl::OkStatus();
        }
        if (bytes > 0 && bytes + encoded->size() > kResponseBytes) RETURN_IF_ERROR(send());
        bytes += encoded->size();
        response.add_blocks(std::string(*encoded));
        SetPosition(key, response.add_positions());
        return absl::OkStatus();
      });
  if (status.ok() && bytes > 0) status = send();
  return ToGrpc(status);
}

}  // namespace kvp

// RemoteShard: a shard's server as a ShardSource.

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/read.grpc.pb.h"
#include "storage/channel.h"
#include "storage/head_response.h"
#include "storage/head_stream.h"
#include "storage/shard_source.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// A list of very many traces takes its time.
constexpr absl::Duration kListLimit = absl::Minutes(10);

class RemoteShardSource final : public ShardSource {
 public:
  RemoteShardSource(std::string address, std::shared_ptr<grpc::Channel> channel,
                    absl::Duration deadline)
      : address_(std::move(address)),
        name_(ShardName(address_)),
        channel_(std::move(channel)),
        stub_(TraceReading::NewStub(channel_)),
        deadline_(deadline) {}

  const std::string& name() const override { return name_; }
  bool grows() const override { return true; }

  absl::StatusOr<ShardIdentity> Identity() override {
    GetShardResponse response;
    RETURN_IF_ERROR(
        CallWithRetry(*channel_, address_, deadline_, deadline_, [&](grpc::ClientContext& context) {
          response.Clear();
          return stub_->GetShard(&context, GetShardRequest(), &response);
        }));
    return std::move(*response.mutable_identity());
  }

  absl::StatusOr<std::vector<TraceRecord>> List(const std::string& split, bool ids_only) override {
    ListTracesRequest request;
    request.set_split(split);
    request.set_ids_only(ids_only);
    std::vector<TraceRecord> records;
    RETURN_IF_ERROR(CallWithRetry(*channel_, address_, deadline_, kListLimit,
                                  [&](grpc::ClientContext& context) {
                                    records.clear();
                                    const auto reader = stub_->ListTraces(&context, request);
                                    ListTracesResponse response;
                                    while (reader->Read(&response)) {
                                      for (TraceRecord& record : *response.mutable_records()) {
                                        records.push_back(std::move(record));
                                      }
                                    }
                                    return reader->Finish();
                                  }));
    for (size_t i = 1; i < records.size(); ++i) {
      if (records[i - 1].trace_id() >= records[i].trace_id()) {
        return absl::InternalError(absl::StrCat(name_, ": traces aren't in order"));
      }
    }
    return records;
  }

  absl::Status ReadHead(const HeadRequest& request, const BlockConsumer& consume) override {
    HeadStream::Options options;
    options.address = address_;
    options.channel = channel_;
    options.request.set_layer(request.head.layer);
    options.request.set_kv_head(request.head.kv_head);
    options.request.set_split(request.split);
    options.request.set_order_seed(request.order_seed);
    for (const TraceId& id : request.traces) {
      options.request.add_trace_ids(std::string(id.begin(), id.end()));
    }
    if (request.after_trace != nullptr) {
      options.request.set_after_trace_id(
          std::string(request.after_trace->begin(), request.after_trace->end()));
      options.request.set_after_block(INT32_MAX);
    }
    options.deadline = deadline_;
    HeadStream stream(std::move(options));
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<ReadHeadResponse> response, stream.Next());
      if (!response.has_value()) return absl::OkStatus();
      RETURN_IF_ERROR(ForEachBlock(*response, name_, consume));
    }
  }

 private:
  const std::string address_;
  const std::string name_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<TraceReading::Stub> stub_;
  const absl::Duration deadline_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ShardSource>> RemoteShard(const std::string& address,
                                                         const TlsFiles& tls,
                                                         absl::Duration deadline) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, MakeChannel(address, tls));
  return std::make_unique<RemoteShardSource>(address, std::move(channel), deadline);
}

}  // namespace kvp

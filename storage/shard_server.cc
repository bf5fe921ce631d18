#include "storage/shard_server.h"

#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "storage/channel.h"
#include "storage/host_port.h"
#include "util/status_macros.h"
#include "util/tls.h"

namespace kvp {
namespace {

// gRPC's own buffers. What the queue holds comes on top.
constexpr size_t kGrpcMemoryBytes = size_t{512} << 20;
// Also bounds the ReadHead calls under way, which have a thread each.
constexpr int kMaxGrpcThreads = 256;

}  // namespace

absl::Status ShardServer::Options::Validate() const {
  const absl::StatusOr<HostPort> parsed = ParseHostPort(listen);
  if (!parsed.ok())
    return absl::InvalidArgumentError(absl::StrCat("listen: ", parsed.status().message()));
  if (absl::Status status = CheckTls(parsed->host, tls); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("listen: ", status.message()));
  }
  if (queue.capacity_bytes < 1 || queue.batch_bytes < 1) {
    return absl::InvalidArgumentError("queue: capacity_bytes and batch_bytes must be positive");
  }
  if (max_streams < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_streams is ", max_streams, ", not positive"));
  }
  return shard.Validate();
}

absl::StatusOr<std::unique_ptr<ShardServer>> ShardServer::Start(Options options) {
  RETURN_IF_ERROR(options.Validate());
  static std::once_flag plugins;
  std::call_once(plugins, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });

  ASSIGN_OR_RETURN(const HostPort listen, ParseHostPort(options.listen));
  RETURN_IF_ERROR(CheckCanListen(listen));
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                   ServerCredentialsOf(options.tls));
  std::unique_ptr<ShardServer> server(new ShardServer(std::move(options)));
  ASSIGN_OR_RETURN(server->shard_, Shard::Open(server->options_.shard));
  server->queue_ = std::make_unique<IngestQueue>(server->shard_.get(), server->options_.queue);
  server->ingestion_ = std::make_unique<IngestionService>(
      server->shard_.get(), server->queue_.get(), server->options_.max_streams);
  server->reading_ = std::make_unique<ReadingService>(server->shard_.get());
  server->admin_ = std::make_unique<AdminService>(server->shard_.get());

  grpc::ServerBuilder builder;
  builder.AddListeningPort(server->options_.listen, credentials, &server->port_);
  builder.RegisterService(server->ingestion_.get());
  builder.RegisterService(server->reading_.get());
  builder.RegisterService(server->admin_.get());
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  // Two servers on one port would share its connections without a word.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // The probe's pings cost more than the window that they find is worth.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Below the clients' keepalive, or they would be sent away.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  grpc::ResourceQuota quota("kvp_shard");
  quota.Resize(kGrpcMemoryBytes).SetMaxThreads(kMaxGrpcThreads);
  builder.SetResourceQuota(quota);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("listen: ", server->options_.listen, " can't be listened on"));
  }
  return server;
}

std::string ShardServer::address() const {
  const std::string& listen = options_.listen;
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port_);
}

void ShardServer::Shutdown(absl::Duration deadline) {
  if (server_ == nullptr) return;
  ingestion_->Drain();
  reading_->Drain();
  server_->Shutdown(absl::ToChronoTime(absl::Now() + deadline));
  server_->Wait();
}

ShardServer::~ShardServer() { Shutdown(absl::ZeroDuration()); }

}  // namespace kvp

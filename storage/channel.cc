#include "storage/channel.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/grpc_status.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const TlsFiles& tls) {
  ASSIGN_OR_RETURN(const HostPort parsed, ParseHostPort(address));
  RETURN_IF_ERROR(CheckTls(parsed.host, tls));
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   ChannelCredentialsOf(tls));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // gRPC's retries keep a copy of the stream, and can't replay a large one.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A proxy of the environment has no business between a client and its shard.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

absl::Status WaitForConnection(grpc::Channel& channel, const std::string& address,
                               absl::Time deadline, const std::function<bool()>& cancelled) {
  constexpr absl::Duration kSlice = absl::Milliseconds(200);
  while (true) {
    const absl::Time until = std::min(deadline, absl::Now() + kSlice);
    if (channel.WaitForConnected(absl::ToChronoTime(until))) return absl::OkStatus();
    if (cancelled != nullptr && cancelled())
      return absl::CancelledError(absl::StrCat(ShardName(address), ": can't be reached; stopping"));
    if (absl::Now() >= deadline) {
      return absl::UnavailableError(absl::StrCat(ShardName(address), ": can't be reached"));
    }
  }
}

bool IsWorthRetrying(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsAborted(status) || absl::IsCancelled(status);
}

bool IsReadWorthRetrying(const absl::Status& status) {
  return IsWorthRetrying(status) || absl::IsResourceExhausted(status);
}

std::string ShardName(absl::string_view address) { return absl::StrCat("shard ", address); }

absl::Status CallWithRetry(grpc::Channel& channel, const std::string& address,
                           absl::Duration patience, absl::Duration call_limit,
                           const std::function<grpc::Status(grpc::ClientContext&)>& attempt,
                           const std::function<bool()>& cancelled) {
  const absl::Time deadline = absl::Now() + patience;
  absl::Duration backoff = absl::Milliseconds(50);
  while (true) {
    RETURN_IF_ERROR(WaitForConnection(channel, address, deadline, cancelled));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + call_limit));
    const absl::Status status = FromGrpc(attempt(context), ShardName(address));
    if (absl::IsDeadlineExceeded(status)) return absl::UnavailableError(status.message());
    if (!IsReadWorthRetrying(status) || absl::Now() + backoff >= deadline) return status;
    if (cancelled != nullptr && cancelled()) return status;
    absl::SleepFor(backoff);
    backoff = std::min(2 * backoff, absl::Seconds(1));
  }
}

}  // namespace kvp

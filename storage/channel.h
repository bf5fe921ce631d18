// The gRPC channel between the store's clients and a shard: addresses, limits and options that both
// sides share.

#ifndef KVP_STORAGE_CHANNEL_H_
#define KVP_STORAGE_CHANNEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "storage/host_port.h"
#include "util/tls.h"

namespace kvp {

constexpr int kMaxMessageBytes = 8 << 20;
// Of the conversation in proto/ingest.proto.
constexpr int32_t kIngestProtocolVersion = 2;

// A channel of its own to the address, which reconnects by itself within a second of the shard's
// return. INVALID_ARGUMENT for what is no address, and errors of CheckTls and ChannelCredentialsOf.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const TlsFiles& tls);

// Waits until the channel is connected. UNAVAILABLE, naming the address, at `deadline`; CANCELLED
// once `cancelled` (where set), asked a few times a second, is true.
absl::Status WaitForConnection(grpc::Channel& channel, const std::string& address,
                               absl::Time deadline,
                               const std::function<bool()>& cancelled = nullptr);

// "shard 127.0.0.1:7000", for messages.
std::string ShardName(absl::string_view address);

// Whether a call that ended so is worth trying again: UNAVAILABLE, ABORTED, and CANCELLED, which is
// how a shard that is cut off while shutting down ends its calls.
bool IsWorthRetrying(const absl::Status& status);

// The same of a read, which a shard refuses with RESOURCE_EXHAUSTED while all its threads are
// taken.
bool IsReadWorthRetrying(const absl::Status& status);

// Calls `attempt` with a fresh context, again for as long as `patience` where that is worth it;
// each attempt may take `call_limit`. Patience ends, too, when `cancelled` (where set) is true. The
// status names the address.
absl::Status CallWithRetry(grpc::Channel& channel, const std::string& address,
                           absl::Duration patience, absl::Duration call_limit,
                           const std::function<grpc::Status(grpc::ClientContext&)>& attempt,
                           const std::function<bool()>& cancelled = nullptr);

}  // namespace kvp

#endif  // KVP_STORAGE_CHANNEL_H_

// Whether servers serve, asked over gRPC's health protocol (grpc.health.v1).

#ifndef KVP_LAUNCHER_HEALTH_CHECK_H_
#define KVP_LAUNCHER_HEALTH_CHECK_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "util/tls_files.h"

namespace kvp {

// Asks all HOST:PORTs side by side and blocks until they have answered, `timeout` at most. Of each,
// in order: OK where it says that it serves; UNAVAILABLE, naming it, where it doesn't, or doesn't
// answer; and the errors of ChannelCredentialsOf. No connection is kept: one that nobody looks
// after would hold up a server that wants to end.
std::vector<absl::Status> CheckHealth(const std::vector<std::string>& addresses,
                                      const TlsFiles& tls, absl::Duration timeout);

}  // namespace kvp

#endif  // KVP_LAUNCHER_HEALTH_CHECK_H_

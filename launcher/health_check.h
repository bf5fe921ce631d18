// Whether servers serve, asked over gRPC's health protocol (grpc.health.v1).

#ifndef KVP_LAUNCHER_HEALTH_CHECK_H_
#define KVP_LAUNCHER_HEALTH_CHECK_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "util/tls_files.h"

namespace grpc {
class Channel;
}

namespace kvp {

// Not thread-safe. Keeps a connection to every server that it was asked about.
class HealthChecker {
 public:
  explicit HealthChecker(TlsFiles tls = {});
  ~HealthChecker();

  // Asks all HOST:PORTs side by side and blocks until they have answered, `timeout` at most. Of
  // each, in order: OK where it says that it serves; UNAVAILABLE, naming it, where it doesn't, or
  // doesn't answer; and the errors of ChannelCredentialsOf.
  std::vector<absl::Status> Check(const std::vector<std::string>& addresses,
                                  absl::Duration timeout);

 private:
  const TlsFiles tls_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

}  // namespace kvp

#endif  // KVP_LAUNCHER_HEALTH_CHECK_H_

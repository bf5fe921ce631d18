// Addresses of shards.

#ifndef KVP_STORAGE_HOST_PORT_H_
#define KVP_STORAGE_HOST_PORT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

struct HostPort {
  std::string host;
  int port = 0;
};

// INVALID_ARGUMENT, naming the address, unless it is HOST:PORT with a port of 0 … 65535.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view address);

// OK where a server could listen there now. UNAVAILABLE, naming the address and the reason in
// words, where it couldn't: above all because another process does.
absl::Status CheckCanListen(const HostPort& address);

}  // namespace kvp

#endif  // KVP_STORAGE_HOST_PORT_H_

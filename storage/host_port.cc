#include "storage/host_port.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace kvp {

absl::StatusOr<HostPort> ParseHostPort(absl::string_view address) {
  HostPort parsed;
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &parsed.port) || parsed.port < 0 ||
      parsed.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("address \"", address, "\" isn't HOST:PORT"));
  }
  parsed.host = std::string(address.substr(0, colon));
  return parsed;
}

absl::Status CheckCanListen(const HostPort& address) {
  const std::string text = absl::StrCat(address.host, ":", address.port);
  const auto unavailable = [&](absl::string_view reason) {
    return absl::UnavailableError(absl::StrCat(text, ": can't be listened on: ", reason));
  };
  std::string host = address.host;
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failure = getaddrinfo(host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (failure != 0) return unavailable(gai_strerror(failure));
  // Of a name's several addresses one is enough, but none may be another's.
  absl::Status status = unavailable("the name has no address here");
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int descriptor = socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, 0);
    if (descriptor < 0) continue;  // a family that this machine doesn't have
    const int yes = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    const int error = bind(descriptor, one->ai_addr, one->ai_addrlen) == 0 ? 0 : errno;
    close(descriptor);
    if (error == EADDRINUSE) {
      status = unavailable("another process listens on this port");
      break;
    }
    if (error == 0) {
      status = absl::OkStatus();
    } else if (!status.ok()) {
      status = unavailable(error == EADDRNOTAVAIL ? "this machine has no such address"
                                                  : std::strerror(error));
    }
  }
  freeaddrinfo(found);
  return status;
}

}  // namespace kvp

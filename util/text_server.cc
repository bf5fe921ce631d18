#include "util/text_server.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr size_t kMaxRequestBytes = 16 << 10;
constexpr int kSilenceSeconds = 5;

absl::Status Failed(const std::string& address, absl::string_view what) {
  return absl::UnavailableError(
      absl::StrCat("address ", address, ": ", what, ": ", std::strerror(errno)));
}

// Everything up to the empty line after the headers, or less where the other side ends, waits or is
// slow.
std::string ReadRequest(int connection) {
  std::string request;
  char buffer[1024];
  const absl::Time deadline = absl::Now() + absl::Seconds(kSilenceSeconds);
  while (request.size() < kMaxRequestBytes && !absl::StrContains(request, "\r\n\r\n") &&
         absl::Now() < deadline) {
    const ssize_t size = recv(connection, buffer, sizeof(buffer), 0);
    if (size <= 0) break;
    request.append(buffer, size);
  }
  return request;
}

void SendAll(int connection, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(sent);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<TextServer>> TextServer::Start(const std::string& address,
                                                              std::string path,
                                                              std::function<std::string()> text) {
  std::unique_ptr<TextServer> server(new TextServer(std::move(path), std::move(text)));
  RETURN_IF_ERROR(server->Listen(address));
  if (pipe2(server->wake_, O_CLOEXEC) != 0) return Failed(address, "pipe");
  server->thread_ = std::thread([raw = server.get()] { raw->Run(); });
  return server;
}

TextServer::~TextServer() {
  if (thread_.joinable()) {
    const char byte = 0;
    while (write(wake_[1], &byte, 1) < 0 && errno == EINTR) {
    }
    thread_.join();
  }
  for (const int descriptor : {listening_, wake_[0], wake_[1]}) {
    if (descriptor >= 0) close(descriptor);
  }
}

absl::Status TextServer::Listen(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return absl::InvalidArgumentError(absl::StrCat("address \"", address, "\" isn't HOST:PORT"));
  }
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.substr(0, colon).c_str(), address.substr(colon + 1).c_str(),
                                &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("address ", address, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  listening_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listening_ < 0) return Failed(address, "socket");
  const int yes = 1;
  setsockopt(listening_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (bind(listening_, found->ai_addr, found->ai_addrlen) != 0) return Failed(address, "bind");
  if (listen(listening_, SOMAXCONN) != 0) return Failed(address, "listen");
  sockaddr_in bound{};
  socklen_t size = sizeof(bound);
  if (getsockname(listening_, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    return Failed(address, "getsockname");
  }
  port_ = ntohs(bound.sin_port);
  return absl::OkStatus();
}

void TextServer::Run() {
  while (true) {
    pollfd events[2] = {{listening_, POLLIN, 0}, {wake_[0], POLLIN, 0}};
    if (poll(events, 2, -1) < 0 && errno != EINTR) return;
    if (events[1].revents != 0) return;
    if (events[0].revents == 0) continue;
    const int connection = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    Answer(connection);
    close(connection);
  }
}

void TextServer::Answer(int connection) const {
  timeval patience{};
  patience.tv_sec = kSilenceSeconds;
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  const std::string request = ReadRequest(connection);
  if (request.empty()) return;
  const bool asked_for = absl::StartsWith(request, absl::StrCat("GET ", path_, " ")) ||
                         absl::StartsWith(request, absl::StrCat("GET ", path_, "?"));
  const std::string body =
      asked_for ? text_() : absl::StrCat("GET ", path_, " is all that is answered here.\n");
  SendAll(connection, absl::StrCat("HTTP/1.1 ", asked_for ? "200 OK" : "404 Not Found",
                                   "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                                   "Content-Length: ",
                                   body.size(), "\r\nConnection: close\r\n\r\n", body));
}

}  // namespace kvp

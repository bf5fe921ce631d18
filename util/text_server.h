// TextServer: answers GET of one path with a text, over HTTP.

#ifndef KVP_UTIL_TEXT_SERVER_H_
#define KVP_UTIL_TEXT_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"

namespace kvp {

// For a scraper that comes every few seconds: one thread, one connection after the other, each
// closed after its answer; whoever is silent for seconds is dropped. (The server that comes with
// prometheus-cpp gives its threads stacks of 100 KiB, which a process with LibTorch's thread-local
// storage can't start.)
class TextServer {
 public:
  // Serves `text`, called on the server's thread for each request, at `path` of `address`:
  // HOST:PORT, port 0 for a free one. UNAVAILABLE or INVALID_ARGUMENT, naming the address, where it
  // can't be had.
  static absl::StatusOr<std::unique_ptr<TextServer>> Start(const std::string& address,
                                                           std::string path,
                                                           std::function<std::string()> text);
  ~TextServer();
  TextServer(const TextServer&) = delete;
  TextServer& operator=(const TextServer&) = delete;

  int port() const { return port_; }

 private:
  TextServer(std::string path, std::function<std::string()> text)
      : path_(std::move(path)), text_(std::move(text)) {}

  absl::Status Listen(const std::string& address);
  void Run();
  void Answer(int connection) const;

  const std::string path_;
  const std::function<std::string()> text_;
  int listening_ = -1;
  // A byte written to the second ends the thread, which waits for the first.
  int wake_[2] = {-1, -1};
  int port_ = 0;
  std::thread thread_;
};

}  // namespace kvp

#endif  // KVP_UTIL_TEXT_SERVER_H_

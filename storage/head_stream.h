// HeadStream: one head's blocks from one shard, read ahead of whoever consumes them.

#ifndef KVP_STORAGE_HEAD_STREAM_H_
#define KVP_STORAGE_HEAD_STREAM_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "proto/read.grpc.pb.h"

namespace kvp {

// Reads on a thread of its own, up to a number of bytes ahead. Where the shard goes away, it goes
// on after the last block it had once the shard is back. To be used by one thread.
class HeadStream {
 public:
  struct Options {
    std::string address;
    std::shared_ptr<grpc::Channel> channel;
    ReadHeadRequest request;
    int64_t ahead_bytes = int64_t{32} << 20;
    // How long the shard may be unreachable.
    absl::Duration deadline;
  };

  // Begins to read.
  explicit HeadStream(Options options);
  // Ends the read wherever it is.
  ~HeadStream();

  // The next response; none at the end. UNAVAILABLE, naming the address, where the shard stayed
  // away.
  absl::StatusOr<std::optional<ReadHeadResponse>> Next();

 private:
  void Run();
  // One call, from where the last one ended.
  absl::Status Read(absl::Time deadline);

  const Options options_;
  const std::unique_ptr<TraceReading::Stub> stub_;
  // Of the reading thread: the request that continues after what was read, and when something last
  // came.
  ReadHeadRequest request_;
  absl::Time last_progress_;

  absl::Mutex mutex_;
  std::deque<ReadHeadResponse> ahead_ ABSL_GUARDED_BY(mutex_);
  int64_t ahead_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_HEAD_STREAM_H_

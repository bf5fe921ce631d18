// ShardStream: a writer's connection to one shard, kept up over disconnections.

#ifndef KVP_STORAGE_SHARD_STREAM_H_
#define KVP_STORAGE_SHARD_STREAM_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "proto/ingest.grpc.pb.h"
#include "proto/shard.pb.h"

namespace kvp {

// Sends blocks and commits in order on a thread of its own, and keeps each until the shard has
// acknowledged it. When the connection breaks, or the shard goes away (UNAVAILABLE), it connects
// again and sends everything unacknowledged again, which is a no-op for what the shard has. A shard
// that is full (RESOURCE_EXHAUSTED) is tried again for as long as it takes: nothing is lost by
// waiting. Any other refusal, or a shard that stays unreachable longer than the deadline, is an
// error, which every call returns until Reset.
//
// Thread-safe. Calls block on the window and on reconnection.
class ShardStream {
 public:
  struct Options {
    std::string address;
    std::shared_ptr<grpc::Channel> channel;
    IngestHello hello;
    // Most bytes sent or waiting to be sent without an acknowledgement; a larger message goes
    // alone.
    int64_t window_bytes = 0;
    absl::Duration reconnect_deadline;
    // As TraceWriter::Options.
    std::function<bool()> cancelled;
  };

  // Begins to connect.
  explicit ShardStream(Options options);
  // Drops what is unacknowledged.
  ~ShardStream();

  // Waits until the shard has answered the hello.
  absl::Status WaitForHello();
  // The shard's answer to the hello.
  ShardIdentity identity() const;

  // Queues one message; its sequence number is set here. Waits for the window.
  absl::Status Send(std::unique_ptr<IngestRequest> request);

  // Waits until everything sent is acknowledged.
  absl::Status Flush();

  // Forgets everything unacknowledged, and the error; connects again where that had stopped.
  void Reset();

  // Encoded bytes of the blocks acknowledged so far.
  int64_t acknowledged_bytes() const;

  grpc::Channel& channel() { return *options_.channel; }
  const std::string& address() const { return options_.address; }

 private:
  struct Pending {
    uint64_t sequence = 0;
    // Of the message; of the encoded block in it.
    int64_t bytes = 0;
    int64_t encoded_bytes = 0;
    std::shared_ptr<const IngestRequest> request;
  };
  using Stream = grpc::ClientReaderWriter<IngestRequest, IngestResponse>;

  void Run();
  // One connection, from waiting for it to its end, which is always an error but where the stream
  // is stopping.
  absl::Status Converse();
  // Sends what is to be sent until the connection is broken.
  void SendPending(Stream& stream);
  // Takes responses until there are no more.
  void ReadResponses(Stream& stream);
  void Acknowledge(uint64_t sequence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Cancelled() const { return options_.cancelled != nullptr && options_.cancelled(); }
  bool HasUnsent() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const std::unique_ptr<TraceIngestion::Stub> stub_;

  mutable absl::Mutex mutex_;
  // In ascending order of their sequence numbers, without gaps.
  std::deque<Pending> unacknowledged_ ABSL_GUARDED_BY(mutex_);
  int64_t unacknowledged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t acknowledged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  // The last one sent on the present connection.
  uint64_t last_sent_ ABSL_GUARDED_BY(mutex_) = 0;
  // The shard has answered the hello on the present connection.
  bool greeted_ ABSL_GUARDED_BY(mutex_) = false;
  // The present connection is of no more use.
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  // Of the present connection, to cancel it.
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // Set once the first hello has been answered.
  bool known_ ABSL_GUARDED_BY(mutex_) = false;
  ShardIdentity identity_ ABSL_GUARDED_BY(mutex_);
  // The reconnection deadline counts from here while the shard doesn't answer.
  absl::Time unreachable_since_ ABSL_GUARDED_BY(mutex_);
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_SHARD_STREAM_H_

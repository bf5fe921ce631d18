// ShardStream: a writer's connection to one shard, kept up over disconnections.

#ifndef KVP_STORAGE_SHARD_STREAM_H_
#define KVP_STORAGE_SHARD_STREAM_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "proto/ingest.grpc.pb.h"
#include "proto/shard.pb.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "storage/held_block_set.h"

namespace kvp {

// Sends blocks and commits in order on a thread of its own, and keeps each until the shard has
// acknowledged it. Before a trace's first block on a connection it asks what the shard holds of the
// trace, and leaves that out. When the connection breaks, or the shard goes away (UNAVAILABLE), it
// connects again and goes on with what is neither acknowledged nor held. A shard that is full
// (RESOURCE_EXHAUSTED) is tried again for as long as it takes: nothing is lost by waiting. Any
// other refusal, or a shard that stays unreachable longer than the deadline, is an error, which
// every call returns until Reset.
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

  // Queue one message. Wait for the window.
  absl::Status SendBlock(const HeadBlock& block);
  absl::Status SendCommit(const TraceRecord& record);

  // Waits until everything sent is acknowledged.
  absl::Status Flush();

  // Forgets everything unacknowledged, and the error; connects again where that had stopped.
  void Reset();

  // Encoded bytes of the blocks that are durable: acknowledged, or held already.
  int64_t acknowledged_bytes() const;
  // Of the latter.
  int64_t held_bytes() const;

  grpc::Channel& channel() { return *options_.channel; }
  const std::string& address() const { return options_.address; }

 private:
  struct Pending {
    // On the present connection; 0: not sent there.
    uint64_t sequence = 0;
    // The shard has told that it holds this.
    bool held = false;
    // Of a block; a commit has none.
    struct Place {
      HeadBlockKey key;
      int32_t first_token = 0;
      int32_t tokens = 0;
    };
    std::optional<Place> place;
    // Of the message; of the encoded block in it.
    int64_t bytes = 0;
    int64_t encoded_bytes = 0;
    std::shared_ptr<IngestRequest> request;
  };
  using Stream = grpc::ClientReaderWriter<IngestRequest, IngestResponse>;

  void Run();
  // One connection, from waiting for it to its end, which is always an error but where the stream
  // is stopping.
  absl::Status Converse();
  // Sends what is to be sent until the connection is broken.
  void SendPending(Stream& stream);
  // What is to be sent next; null where nothing is and the connection is broken. Waits for it.
  std::shared_ptr<IngestRequest> NextRequest();
  // Takes responses until there are no more.
  void ReadResponses(Stream& stream);
  absl::Status Send(Pending pending);
  // Drops what needs no acknowledgement any more.
  void DropDurable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Cancelled() const { return options_.cancelled != nullptr && options_.cancelled(); }

  const Options options_;
  const std::unique_ptr<TraceIngestion::Stub> stub_;

  mutable absl::Mutex mutex_;
  // In the order of sending. The first `sent_` have been dealt with on the present connection.
  std::deque<Pending> unacknowledged_ ABSL_GUARDED_BY(mutex_);
  size_t sent_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unacknowledged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t acknowledged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t held_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // On the present connection: the last sequence number sent, and acknowledged.
  uint64_t last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t acknowledged_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  // What the shard held of the trace that is being sent, before anything of it was sent on the
  // present connection.
  std::optional<HeldBlockSet> held_ ABSL_GUARDED_BY(mutex_);
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
  // Reset came during the present connection: how it ends says nothing of what is sent next.
  bool reset_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_SHARD_STREAM_H_

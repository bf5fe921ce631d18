// IngestQueue: between gRPC's threads, which must not wait for the disk, and the shard.
//
//   stream ─┐                       ┌─ PutBlocks ─ Commit ─┐
//   stream ─┼─ Push ─ [ queue ] ─ writer thread            ├─ OnApplied to each stream
//   stream ─┘                       └──── one sync each ───┘

#ifndef KVP_STORAGE_INGEST_QUEUE_H_
#define KVP_STORAGE_INGEST_QUEUE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "proto/ingest.pb.h"
#include "proto/shard.pb.h"
#include "storage/head_block.h"
#include "storage/shard.h"

namespace kvp {

// Where items come from: a stream. Called on the queue's thread, which holds no lock then; must not
// block.
class IngestSource {
 public:
  virtual ~IngestSource() = default;
  // The item is durable, or was refused. Items of one source come back in the order in which they
  // were pushed.
  virtual void OnApplied(uint64_t sequence, const absl::Status& status) = 0;
  // The answer to a resume, as of when everything before it was applied. In order with the others.
  virtual void OnHeld(absl::StatusOr<HeldBlocks> held) = 0;
  // There is room again, after a Push that returned false.
  virtual void OnRoom() = 0;
};

struct IngestItem {
  std::shared_ptr<IngestSource> source;
  // Holds a block, a commit or a resume with a valid id.
  std::unique_ptr<IngestRequest> request;
  // Where it holds a block: refers to the request's bytes.
  HeadBlockView block;
};

// Owns the writer thread. Thread-safe. Push doesn't block.
class IngestQueue {
 public:
  struct Options {
    // Push asks for a pause above this.
    int64_t capacity_bytes = int64_t{64} << 20;
    // What the writer thread takes at once and makes durable with one sync.
    int64_t batch_bytes = int64_t{32} << 20;
  };

  // `shard` must outlive the queue.
  IngestQueue(Shard* shard, Options options);
  // Applies what is queued.
  ~IngestQueue();

  // Takes the item in any case. False where the queue is full now: the source is to push no more
  // until OnRoom.
  bool Push(IngestItem item);

 private:
  void Run();
  void Apply(const std::vector<IngestItem>& items);
  absl::StatusOr<HeldBlocks> HeldOf(absl::string_view id_bytes) const;
  void ReportBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Shard* const shard_;
  const Options options_;
  absl::Mutex mutex_;
  std::deque<IngestItem> items_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of the batch that is being applied.
  int64_t applying_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::shared_ptr<IngestSource>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread writer_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_INGEST_QUEUE_H_

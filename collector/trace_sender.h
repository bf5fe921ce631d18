// Sends traces from a thread of its own, so that the network and the disks behind it work while the
// next trace is computed.

#ifndef KVP_COLLECTOR_TRACE_SENDER_H_
#define KVP_COLLECTOR_TRACE_SENDER_H_

#include <cstdint>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "collector/capture.h"
#include "storage/trace_writer.h"
#include "util/bounded_queue.h"

namespace kvp {

// Holds at most two traces: one that is being sent and one that waits. Used from one thread; calls
// block.
class TraceSender {
 public:
  // `writer` isn't owned; nobody else may use it until Finish or the destructor has returned.
  explicit TraceSender(TraceWriter* writer);
  // Drops what waits. A trace that is being sent is sent to its end.
  ~TraceSender();
  TraceSender(const TraceSender&) = delete;
  TraceSender& operator=(const TraceSender&) = delete;

  // Hands over a trace, waiting for room. The first error of sending comes back from here and from
  // Finish; then this trace and all later ones are dropped.
  absl::Status Send(CapturedTrace trace);

  // Waits until every trace is committed. Nothing may be sent afterwards.
  absl::Status Finish();

  // Traces handed over that aren't committed yet.
  int64_t waiting() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Traces committed so far, the empty ones and the others, and the encoded bytes that this took.
  int64_t committed_empty() const ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t committed() const ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t acknowledged_bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run();
  absl::Status SendOne(const CapturedTrace& trace);
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);

  TraceWriter& writer_;
  BoundedQueue<CapturedTrace> queue_{1};
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  int64_t handed_over_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t committed_empty_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t committed_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t acknowledged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace kvp

#endif  // KVP_COLLECTOR_TRACE_SENDER_H_

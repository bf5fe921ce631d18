#include "collector/trace_sender.h"

#include <optional>
#include <utility>

#include "util/status_macros.h"

namespace kvp {

TraceSender::TraceSender(TraceWriter* writer) : writer_(*writer) {
  thread_ = std::thread([this] { Run(); });
}

TraceSender::~TraceSender() {
  queue_.Cancel();
  if (thread_.joinable()) thread_.join();
}

absl::Status TraceSender::Send(CapturedTrace trace) {
  {
    const absl::MutexLock lock(&mutex_);
    ++handed_over_;
  }
  return queue_.Push(std::move(trace)) ? absl::OkStatus() : status();
}

absl::Status TraceSender::Finish() {
  queue_.Close();
  if (thread_.joinable()) thread_.join();
  return status();
}

int64_t TraceSender::waiting() const {
  const absl::MutexLock lock(&mutex_);
  return handed_over_ - committed_empty_ - committed_;
}

int64_t TraceSender::committed_empty() const {
  const absl::MutexLock lock(&mutex_);
  return committed_empty_;
}

int64_t TraceSender::committed() const {
  const absl::MutexLock lock(&mutex_);
  return committed_;
}

int64_t TraceSender::acknowledged_bytes() const {
  const absl::MutexLock lock(&mutex_);
  return acknowledged_bytes_;
}

absl::Status TraceSender::status() const {
  const absl::MutexLock lock(&mutex_);
  return status_;
}

void TraceSender::Run() {
  const int64_t bytes_before = writer_.acknowledged_bytes();
  while (const std::optional<CapturedTrace> trace = queue_.Pop()) {
    absl::Status sent = SendOne(*trace);
    const bool failed = !sent.ok();
    {
      const absl::MutexLock lock(&mutex_);
      status_ = std::move(sent);
      if (!failed) ++(trace->empty() ? committed_empty_ : committed_);
      acknowledged_bytes_ = writer_.acknowledged_bytes() - bytes_before;
    }
    // After the status is set: whoever waits for room finds it.
    if (failed) return queue_.Cancel();
  }
}

absl::Status TraceSender::SendOne(const CapturedTrace& trace) {
  for (const HeadBlock& block : trace.blocks) RETURN_IF_ERROR(writer_.Add(block));
  return writer_.Commit(trace.record);
}

}  // namespace kvp

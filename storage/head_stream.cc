#include "storage/head_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "storage/channel.h"
#include "storage/grpc_status.h"
#include "storage/head_block.h"
#include "storage/trace_order.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr absl::Duration kBackoff = absl::Milliseconds(200);

bool ComesBefore(const TraceId& a, const TraceId& b, const ReadHeadRequest& request) {
  if (request.trace_ids().empty()) return TraceOrder(request.order_seed()).Before(a, b);
  if (a == b) return false;
  for (const std::string& id : request.trace_ids()) {
    if (id == absl::string_view(reinterpret_cast<const char*>(a.data()), a.size())) return true;
    if (id == absl::string_view(reinterpret_cast<const char*>(b.data()), b.size())) return false;
  }
  return false;
}

// Moves the beginning of `request` past `position`. Positions of one response don't come in order:
// the unreadable ones stand apart.
void GoOnAfter(const BlockPosition& position, ReadHeadRequest* request) {
  const absl::StatusOr<TraceId> id = TraceIdFromBytes(position.trace_id());
  // Whoever takes the response refuses it.
  if (!id.ok()) return;
  if (const absl::StatusOr<TraceId> last = TraceIdFromBytes(request->after_trace_id()); last.ok()) {
    if (ComesBefore(*id, *last, *request)) return;
    if (*id == *last && position.block() <= request->after_block()) return;
  }
  request->set_after_trace_id(position.trace_id());
  request->set_after_block(position.block());
}

}  // namespace

HeadStream::HeadStream(Options options)
    : options_(std::move(options)),
      stub_(TraceReading::NewStub(options_.channel)),
      request_(options_.request),
      last_progress_(absl::Now()),
      thread_([this] { Run(); }) {}

HeadStream::~HeadStream() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }
  thread_.join();
}

absl::StatusOr<std::optional<ReadHeadResponse>> HeadStream::Next() {
  absl::MutexLock lock(&mutex_);
  const auto ready = [this] {
    mutex_.AssertReaderHeld();
    return done_ || !ahead_.empty();
  };
  mutex_.Await(absl::Condition(&ready));
  if (ahead_.empty()) {
    RETURN_IF_ERROR(status_);
    return std::nullopt;
  }
  ReadHeadResponse response = std::move(ahead_.front());
  ahead_.pop_front();
  ahead_bytes_ -= response.ByteSizeLong();
  return response;
}

void HeadStream::Run() {
  while (true) {
    const absl::Time deadline = last_progress_ + options_.deadline;
    const absl::Status status = Read(deadline);
    absl::MutexLock lock(&mutex_);
    if (!stopping_ && IsReadWorthRetrying(status) &&
        absl::Now() + kBackoff < last_progress_ + options_.deadline) {
      LogWarning(absl::StrCat(status.message(), "; reading on"));
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kBackoff);
      continue;
    }
    status_ = absl::IsCancelled(status) ? absl::UnavailableError(status.message()) : status;
    done_ = true;
    return;
  }
}

absl::Status HeadStream::Read(absl::Time deadline) {
  RETURN_IF_ERROR(WaitForConnection(*options_.channel, options_.address, deadline, [this] {
    absl::MutexLock lock(&mutex_);
    return stopping_;
  }));
  grpc::ClientContext context;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("stopping");
    context_ = &context;
  }
  const std::unique_ptr<grpc::ClientReader<ReadHeadResponse>> reader =
      stub_->ReadHead(&context, request_);
  ReadHeadResponse response;
  while (reader->Read(&response)) {
    last_progress_ = absl::Now();
    for (const BlockPosition& position : response.positions()) GoOnAfter(position, &request_);
    for (const BlockPosition& position : response.unreadable()) GoOnAfter(position, &request_);
    absl::MutexLock lock(&mutex_);
    const auto room = [this] {
      mutex_.AssertReaderHeld();
      return stopping_ || ahead_.empty() || ahead_bytes_ < options_.ahead_bytes;
    };
    mutex_.Await(absl::Condition(&room));
    if (stopping_) break;
    ahead_bytes_ += response.ByteSizeLong();
    ahead_.push_back(std::move(response));
    response.Clear();
    // The wait for room is the consumer's time, not the shard's.
    last_progress_ = absl::Now();
  }
  const grpc::Status status = reader->Finish();
  absl::MutexLock lock(&mutex_);
  context_ = nullptr;
  return FromGrpc(status, ShardName(options_.address));
}

}  // namespace kvp

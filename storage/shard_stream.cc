#include "storage/shard_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/channel.h"
#include "storage/grpc_status.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(50);
constexpr absl::Duration kMaxBackoff = absl::Seconds(1);
// Each try sends a window of blocks to be refused.
constexpr absl::Duration kFullBackoff = absl::Seconds(5);

}  // namespace

ShardStream::ShardStream(Options options)
    : options_(std::move(options)),
      stub_(TraceIngestion::NewStub(options_.channel)),
      unreachable_since_(absl::Now()),
      thread_([this] { Run(); }) {}

ShardStream::~ShardStream() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }
  thread_.join();
}

absl::Status ShardStream::WaitForHello() {
  absl::MutexLock lock(&mutex_);
  const auto answered = [this] {
    mutex_.AssertReaderHeld();
    return known_ || !error_.ok();
  };
  mutex_.Await(absl::Condition(&answered));
  return error_;
}

ShardIdentity ShardStream::identity() const {
  absl::MutexLock lock(&mutex_);
  return identity_;
}

absl::Status ShardStream::SendBlock(const HeadBlock& block) {
  Pending pending;
  pending.place = Pending::Place{block.key, block.first_token, block.tokens};
  pending.request = std::make_shared<IngestRequest>();
  ASSIGN_OR_RETURN(*pending.request->mutable_block(), EncodeHeadBlock(block));
  pending.encoded_bytes = pending.request->block().size();
  return Send(std::move(pending));
}

absl::Status ShardStream::SendCommit(const TraceRecord& record) {
  // As the shard checks it: gRPC would call a message beyond its cap RESOURCE_EXHAUSTED, which is
  // how a full shard refuses.
  if (record.ByteSizeLong() > kMaxEncodedBlockBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the record's size is ", record.ByteSizeLong(),
                                                   ", more than ", kMaxEncodedBlockBytes));
  }
  Pending pending;
  pending.request = std::make_shared<IngestRequest>();
  *pending.request->mutable_commit() = record;
  return Send(std::move(pending));
}

absl::Status ShardStream::Send(Pending pending) {
  const int64_t bytes = pending.request->ByteSizeLong();
  absl::MutexLock lock(&mutex_);
  const auto fits = [this, bytes] {
    mutex_.AssertReaderHeld();
    return !error_.ok() || unacknowledged_.empty() ||
           unacknowledged_bytes_ + bytes <= options_.window_bytes;
  };
  mutex_.Await(absl::Condition(&fits));
  RETURN_IF_ERROR(error_);
  pending.bytes = bytes;
  unacknowledged_bytes_ += bytes;
  unacknowledged_.push_back(std::move(pending));
  return absl::OkStatus();
}

absl::Status ShardStream::Flush() {
  absl::MutexLock lock(&mutex_);
  const auto done = [this] {
    mutex_.AssertReaderHeld();
    return !error_.ok() || unacknowledged_.empty();
  };
  mutex_.Await(absl::Condition(&done));
  return error_;
}

void ShardStream::Reset() {
  absl::MutexLock lock(&mutex_);
  if (!unacknowledged_.empty()) {
    // What was sent may yet be refused: that must not become an error of what comes next.
    reset_ = true;
    broken_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }
  unacknowledged_.clear();
  unacknowledged_bytes_ = 0;
  sent_ = 0;
  held_.reset();
  if (!error_.ok()) {
    error_ = absl::OkStatus();
    unreachable_since_ = absl::Now();
  }
}

int64_t ShardStream::acknowledged_bytes() const {
  absl::MutexLock lock(&mutex_);
  return acknowledged_bytes_;
}

int64_t ShardStream::held_bytes() const {
  absl::MutexLock lock(&mutex_);
  return held_bytes_;
}

void ShardStream::Run() {
  absl::Duration backoff = kFirstBackoff;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      const auto may_connect = [this] {
        mutex_.AssertReaderHeld();
        return stopping_ || error_.ok();
      };
      mutex_.Await(absl::Condition(&may_connect));
      if (stopping_) return;
      reset_ = false;
    }
    const absl::Status status = Converse();
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    if (reset_) {
      greeted_ = false;
      unreachable_since_ = absl::Now();
      backoff = kFirstBackoff;
      continue;
    }
    if (greeted_) {
      greeted_ = false;
      unreachable_since_ = absl::Now();
      backoff = kFirstBackoff;
      LogWarning(absl::StrCat(status.message(), "; connecting again"));
    }
    if (absl::IsResourceExhausted(status) && !Cancelled()) {
      unreachable_since_ = absl::Now() + kFullBackoff;
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kFullBackoff);
      continue;
    }
    if (!IsWorthRetrying(status) || Cancelled() ||
        absl::Now() + backoff >= unreachable_since_ + options_.reconnect_deadline) {
      error_ = IsWorthRetrying(status) ? absl::UnavailableError(status.message()) : status;
      continue;
    }
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), backoff);
    backoff = std::min(2 * backoff, kMaxBackoff);
  }
}

absl::Status ShardStream::Converse() {
  absl::Time deadline;
  {
    absl::MutexLock lock(&mutex_);
    deadline = unreachable_since_ + options_.reconnect_deadline;
  }
  const auto stopping = [this] {
    if (Cancelled()) return true;
    absl::MutexLock lock(&mutex_);
    return stopping_;
  };
  const absl::Status connected =
      WaitForConnection(*options_.channel, options_.address, deadline, stopping);
  if (absl::IsCancelled(connected)) return connected;
  if (!connected.ok()) {
    return absl::UnavailableError(absl::StrCat(ShardName(options_.address),
                                               ": can't be reached within ",
                                               absl::FormatDuration(options_.reconnect_deadline)));
  }
  grpc::ClientContext context;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("stopping");
    context_ = &context;
    broken_ = false;
    greeted_ = false;
    last_sequence_ = 0;
    acknowledged_sequence_ = 0;
    held_.reset();
    sent_ = 0;
    for (Pending& pending : unacknowledged_) pending.sequence = 0;
  }
  const std::unique_ptr<Stream> stream = stub_->Ingest(&context);
  std::thread reader([this, &stream] { ReadResponses(*stream); });
  IngestRequest hello;
  *hello.mutable_hello() = options_.hello;
  bool in_time = true;
  if (stream->Write(hello)) {
    {
      absl::MutexLock lock(&mutex_);
      const auto answered = [this] {
        mutex_.AssertReaderHeld();
        return greeted_ || broken_;
      };
      in_time = mutex_.AwaitWithDeadline(absl::Condition(&answered), deadline);
    }
    if (in_time) {
      SendPending(*stream);
    } else {
      context.TryCancel();
    }
  }
  reader.join();
  const grpc::Status status = stream->Finish();
  {
    absl::MutexLock lock(&mutex_);
    context_ = nullptr;
  }
  if (!in_time) {
    return absl::UnavailableError(
        absl::StrCat(ShardName(options_.address), ": no answer to the hello"));
  }
  if (status.ok()) {
    return absl::UnavailableError(absl::StrCat(ShardName(options_.address), ": ended the stream"));
  }
  return FromGrpc(status, ShardName(options_.address));
}

std::shared_ptr<IngestRequest> ShardStream::NextRequest() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    const auto has_work = [this] {
      mutex_.AssertReaderHeld();
      return broken_ || sent_ < unacknowledged_.size();
    };
    mutex_.Await(absl::Condition(&has_work));
    if (broken_) return nullptr;
    Pending& next = unacknowledged_[sent_];
    if (next.held) {
      ++sent_;
      continue;
    }
    if (next.place.has_value()) {
      const TraceId& id = next.place->key.trace_id;
      const std::string id_bytes(id.begin(), id.end());
      if (!held_.has_value() || held_->trace_id() != id_bytes) {
        auto question = std::make_shared<IngestRequest>();
        question->set_resume(id_bytes);
        return question;
      }
      if (held_->Contains(next.place->key, next.place->first_token, next.place->tokens)) {
        next.held = true;
        held_bytes_ += next.encoded_bytes;
        ++sent_;
        DropDurable();
        continue;
      }
    } else {
      // What comes behind a commit is another trace, or this one anew.
      held_.reset();
    }
    next.sequence = ++last_sequence_;
    next.request->set_sequence(next.sequence);
    ++sent_;
    return next.request;
  }
}

void ShardStream::SendPending(Stream& stream) {
  while (const std::shared_ptr<IngestRequest> request = NextRequest()) {
    if (!stream.Write(*request)) return;
    if (request->kind_case() != IngestRequest::kResume) continue;
    absl::MutexLock lock(&mutex_);
    const auto answered = [this, &request] {
      mutex_.AssertReaderHeld();
      return broken_ || (held_.has_value() && held_->trace_id() == request->resume());
    };
    mutex_.Await(absl::Condition(&answered));
  }
}

void ShardStream::ReadResponses(Stream& stream) {
  IngestResponse response;
  while (stream.Read(&response)) {
    absl::MutexLock lock(&mutex_);
    if (response.has_hello()) {
      identity_ = response.hello();
      greeted_ = true;
      known_ = true;
    } else if (response.has_held()) {
      held_.emplace(response.held());
    } else {
      // Never believed beyond what was sent.
      acknowledged_sequence_ = std::min(response.acknowledged(), last_sequence_);
      DropDurable();
    }
  }
  absl::MutexLock lock(&mutex_);
  broken_ = true;
}

void ShardStream::DropDurable() {
  while (!unacknowledged_.empty()) {
    const Pending& first = unacknowledged_.front();
    const bool acknowledged = first.sequence != 0 && first.sequence <= acknowledged_sequence_;
    if (!acknowledged && !first.held) return;
    unacknowledged_bytes_ -= first.bytes;
    acknowledged_bytes_ += first.encoded_bytes;
    unacknowledged_.pop_front();
    --sent_;
  }
}

}  // namespace kvp

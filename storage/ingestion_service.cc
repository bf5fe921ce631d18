#include "storage/ingestion_service.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/channel.h"
#include "storage/grpc_status.h"
#include "storage/ingest_conversation.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::Status DrainingError() { return absl::UnavailableError("the shard is shutting down"); }

}  // namespace

// One stream. At most one read and one write are under way; a message is read only when the one
// before is queued, the queue has room, and a resume is answered. gRPC's reactions to Start… and
// Finish come on other threads, so these are called under the lock, which orders Finish after every
// StartRead.
class IngestionService::Stream final
    : public grpc::ServerBidiReactor<IngestRequest, IngestResponse>,
      public IngestSource,
      public std::enable_shared_from_this<Stream> {
 public:
  explicit Stream(IngestionService* service) : service_(service), conversation_(service->shard_) {}

  void Begin() {
    absl::MutexLock lock(&mutex_);
    ReadNext();
  }

  // Ends the stream once everything read is acknowledged.
  void EndWhenApplied(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (!final_status_.has_value()) final_status_ = status;
    Advance();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      EndWhenApplied(absl::OkStatus());
      return;
    }
    {
      absl::MutexLock lock(&mutex_);
      reading_ = false;
      if (final_status_.has_value()) return;
    }
    // No other read is under way, so the request and the state of the conversation are this
    // thread's.
    const absl::StatusOr<bool> room = Take();
    if (!room.ok()) service_->shard_->metrics().CountRefusal(room.status());
    absl::MutexLock lock(&mutex_);
    if (!room.ok()) {
      Fail(room.status());
    } else if (*room) {
      awaits_room_ = false;
      ReadNext();
    }
    Advance();
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) Fail(absl::CancelledError("the client went away"));
    if (response_.has_held()) {
      awaits_held_ = false;
      ReadNext();
    }
    Advance();
  }

  void OnCancel() override {
    absl::MutexLock lock(&mutex_);
    Fail(absl::CancelledError("the client went away"));
    Advance();
  }

  void OnDone() override {
    absl::MutexLock lock(&service_->mutex_);
    service_->streams_.erase(shared_from_this());
  }

  void OnApplied(uint64_t sequence, const absl::Status& status) override {
    absl::MutexLock lock(&mutex_);
    --queued_;
    if (!status.ok()) {
      Fail(status);
    } else if (!failed_) {
      applied_ = sequence;
    }
    Advance();
  }

  void OnHeld(absl::StatusOr<HeldBlocks> held) override {
    absl::MutexLock lock(&mutex_);
    --queued_;
    if (held.ok()) {
      held_response_ = *std::move(held);
    } else {
      Fail(held.status());
    }
    Advance();
  }

  void OnRoom() override {
    absl::MutexLock lock(&mutex_);
    awaits_room_ = false;
    ReadNext();
  }

 private:
  // Takes the message just read. False where the queue is full.
  absl::StatusOr<bool> Take() {
    ASSIGN_OR_RETURN(IngestConversation::Message message, conversation_.Take(*request_));
    if (message.hello.has_value()) {
      absl::MutexLock lock(&mutex_);
      hello_response_ = std::move(message.hello);
      return true;
    }
    IngestItem item;
    item.block = message.block;
    item.request = std::move(request_);
    request_ = std::make_unique<IngestRequest>();
    item.source = shared_from_this();
    {
      absl::MutexLock lock(&mutex_);
      ++queued_;
      // Until Push says that there is room.
      awaits_room_ = true;
      awaits_held_ = item.request->kind_case() == IngestRequest::kResume;
    }
    return service_->queue_->Push(std::move(item));
  }

  // Ends the stream without waiting for what is queued.
  void Fail(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (failed_) return;
    failed_ = true;
    final_status_ = status;
  }

  void ReadNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (final_status_.has_value() || reading_ || awaits_room_ || awaits_held_) return;
    reading_ = true;
    StartRead(request_.get());
  }

  // Starts the next write, or ends the stream, as far as that is due.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (finished_ || writing_) return;
    if (hello_response_.has_value()) {
      *response_.mutable_hello() = *std::move(hello_response_);
      hello_response_.reset();
    } else if (applied_ != acknowledged_) {
      response_.set_acknowledged(applied_);
      acknowledged_ = applied_;
    } else if (held_response_.has_value()) {
      *response_.mutable_held() = *std::move(held_response_);
      held_response_.reset();
    } else {
      if (final_status_.has_value() && (failed_ || queued_ == 0)) {
        finished_ = true;
        Finish(ToGrpc(*final_status_));
      }
      return;
    }
    writing_ = true;
    StartWrite(&response_);
  }

  IngestionService* const service_;

  // Of the thread that handles the read.
  std::unique_ptr<IngestRequest> request_ = std::make_unique<IngestRequest>();
  IngestConversation conversation_;

  absl::Mutex mutex_;
  IngestResponse response_;
  std::optional<ShardIdentity> hello_response_ ABSL_GUARDED_BY(mutex_);
  std::optional<HeldBlocks> held_response_ ABSL_GUARDED_BY(mutex_);
  // Items in the queue.
  int64_t queued_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t applied_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t acknowledged_ ABSL_GUARDED_BY(mutex_) = 0;
  // Nothing more is read once it is set.
  std::optional<absl::Status> final_status_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool awaits_room_ ABSL_GUARDED_BY(mutex_) = false;
  // A resume isn't answered yet. Nothing is read meanwhile: a client that asks and never listens
  // must not pile up answers.
  bool awaits_held_ ABSL_GUARDED_BY(mutex_) = false;
  bool failed_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

grpc::ServerBidiReactor<IngestRequest, IngestResponse>* IngestionService::Ingest(
    grpc::CallbackServerContext* /*context*/) {
  auto stream = std::make_shared<Stream>(this);
  absl::Status refusal;
  {
    absl::MutexLock lock(&mutex_);
    if (draining_) {
      refusal = DrainingError();
    } else if (streams_.size() >= static_cast<size_t>(max_streams_)) {
      refusal = absl::ResourceExhaustedError(
          absl::StrCat("the shard has its ", max_streams_, " streams of writers already"));
    }
    streams_.insert(stream);
  }
  if (!refusal.ok()) {
    stream->EndWhenApplied(refusal);
  } else {
    stream->Begin();
  }
  return stream.get();
}

grpc::ServerUnaryReactor* IngestionService::Committed(grpc::CallbackServerContext* context,
                                                      const CommittedRequest* request,
                                                      CommittedResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  std::vector<TraceId> ids;
  ids.reserve(request->trace_ids_size());
  for (const std::string& bytes : request->trace_ids()) {
    absl::StatusOr<TraceId> id = TraceIdFromBytes(bytes);
    if (!id.ok()) {
      reactor->Finish(
          ToGrpc(absl::InvalidArgumentError(absl::StrCat("trace_ids: ", id.status().message()))));
      return reactor;
    }
    ids.push_back(*id);
  }
  for (const TraceId& id : shard_->Committed(ids)) {
    response->add_trace_ids(std::string(id.begin(), id.end()));
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

void IngestionService::Drain() {
  std::vector<std::shared_ptr<Stream>> streams;
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    streams.assign(streams_.begin(), streams_.end());
  }
  for (const std::shared_ptr<Stream>& stream : streams) stream->EndWhenApplied(DrainingError());
}

}  // namespace kvp

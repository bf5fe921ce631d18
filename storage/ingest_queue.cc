#include "storage/ingest_queue.h"

#include <utility>

#include "util/status_macros.h"

namespace kvp {
namespace {

// Of memory beside the message's own bytes.
constexpr int64_t kItemBytes = sizeof(IngestItem) + sizeof(IngestRequest);
// Of an answer to a resume: below the message cap.
constexpr int64_t kMaxHeldBytes = int64_t{4} << 20;

int64_t Bytes(const IngestItem& item) {
  const bool is_block = item.request->kind_case() == IngestRequest::kBlock;
  return kItemBytes + static_cast<int64_t>(is_block ? item.request->block().size()
                                                    : item.request->ByteSizeLong());
}

}  // namespace

IngestQueue::IngestQueue(Shard* shard, Options options)
    : shard_(shard), options_(options), writer_([this] { Run(); }) {}

IngestQueue::~IngestQueue() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  writer_.join();
}

bool IngestQueue::Push(IngestItem item) {
  absl::MutexLock lock(&mutex_);
  bytes_ += Bytes(item);
  const bool room = bytes_ < options_.capacity_bytes;
  if (!room) waiting_.push_back(item.source);
  items_.push_back(std::move(item));
  ReportBytes();
  return room;
}

void IngestQueue::ReportBytes() const {
  shard_->metrics().queue_bytes.Set(static_cast<double>(bytes_));
  shard_->metrics().unacknowledged_bytes.Set(static_cast<double>(bytes_ + applying_bytes_));
}

void IngestQueue::Run() {
  while (true) {
    std::vector<IngestItem> batch;
    std::vector<std::shared_ptr<IngestSource>> resumed;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](IngestQueue* queue) ABSL_EXCLUSIVE_LOCKS_REQUIRED(queue->mutex_) {
            return queue->stopping_ || !queue->items_.empty();
          },
          this));
      if (items_.empty()) return;
      int64_t batch_bytes = 0;
      while (!items_.empty() && batch_bytes < options_.batch_bytes) {
        batch_bytes += Bytes(items_.front());
        batch.push_back(std::move(items_.front()));
        items_.pop_front();
      }
      bytes_ -= batch_bytes;
      applying_bytes_ = batch_bytes;
      ReportBytes();
      if (bytes_ < options_.capacity_bytes) resumed.swap(waiting_);
    }
    for (const std::shared_ptr<IngestSource>& source : resumed) source->OnRoom();
    Apply(batch);
  }
}

absl::StatusOr<HeldBlocks> IngestQueue::HeldOf(absl::string_view id_bytes) const {
  ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(id_bytes));
  return shard_->Held(id, kMaxHeldBytes);
}

void IngestQueue::Apply(const std::vector<IngestItem>& items) {
  // All blocks before all commits: a commit follows its own trace's blocks in its stream, and
  // blocks that are stored earlier than they were sent do no harm.
  std::vector<HeadBlockView> blocks;
  std::vector<TraceRecord> records;
  for (const IngestItem& item : items) {
    if (item.request->kind_case() == IngestRequest::kBlock) {
      blocks.push_back(item.block);
    } else if (item.request->kind_case() == IngestRequest::kCommit) {
      records.push_back(std::move(*item.request->mutable_commit()));
    }
  }
  const std::vector<absl::Status> block_statuses = shard_->PutBlocks(blocks);
  const std::vector<absl::Status> commit_statuses = shard_->Commit(records);
  {
    absl::MutexLock lock(&mutex_);
    applying_bytes_ = 0;
    ReportBytes();
  }
  auto block_status = block_statuses.begin();
  auto commit_status = commit_statuses.begin();
  const ShardMetrics& metrics = shard_->metrics();
  for (const IngestItem& item : items) {
    if (item.request->kind_case() == IngestRequest::kResume) {
      item.source->OnHeld(HeldOf(item.request->resume()));
      continue;
    }
    const bool is_block = item.request->kind_case() == IngestRequest::kBlock;
    const absl::Status& status = is_block ? *block_status++ : *commit_status++;
    if (!status.ok()) {
      metrics.CountRefusal(status);
    } else if (is_block) {
      metrics.acknowledged_blocks.Add();
      metrics.acknowledged_bytes.Add(static_cast<double>(item.block.encoded.size()));
    }
    item.source->OnApplied(item.request->sequence(), status);
  }
}

}  // namespace kvp

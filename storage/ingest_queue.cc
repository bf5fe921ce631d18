#include "storage/ingest_queue.h"

#include <utility>

namespace kvp {
namespace {

int64_t Bytes(const IngestItem& item) {
  return item.request->kind_case() == IngestRequest::kBlock ? item.request->block().size()
                                                            : item.request->ByteSizeLong();
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
  return room;
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
      if (bytes_ < options_.capacity_bytes) resumed.swap(waiting_);
    }
    for (const std::shared_ptr<IngestSource>& source : resumed) source->OnRoom();
    Apply(batch);
  }
}

void IngestQueue::Apply(const std::vector<IngestItem>& items) {
  // All blocks before all commits: a commit follows its own trace's blocks in its stream, and
  // blocks that are stored earlier than they were sent do no harm.
  std::vector<HeadBlockView> blocks;
  std::vector<TraceRecord> records;
  for (const IngestItem& item : items) {
    if (item.request->kind_case() == IngestRequest::kBlock) {
      blocks.push_back(item.block);
    } else {
      records.push_back(std::move(*item.request->mutable_commit()));
    }
  }
  const std::vector<absl::Status> block_statuses = shard_->PutBlocks(blocks);
  const std::vector<absl::Status> commit_statuses = shard_->Commit(records);
  auto block_status = block_statuses.begin();
  auto commit_status = commit_statuses.begin();
  for (const IngestItem& item : items) {
    const bool is_block = item.request->kind_case() == IngestRequest::kBlock;
    item.source->OnApplied(item.request->sequence(), is_block ? *block_status++ : *commit_status++);
  }
}

}  // namespace kvp

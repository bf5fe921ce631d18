#include "trainer/prefetcher.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Where everything is in the cache, looking further ahead is of no use.
constexpr size_t kMostPortionsAhead = 64;

}  // namespace

Prefetcher::Prefetcher(TraceReader* reader, const TraceSet* traces, std::vector<HeadRange> groups,
                       Sequence sequence, int64_t first, TraceCache* cache, FetchThreads* threads,
                       const Options& options)
    : reader_(reader),
      traces_(traces),
      groups_(std::move(groups)),
      sequence_(std::move(sequence)),
      cache_(cache),
      threads_(threads),
      options_(options),
      next_number_(first) {}

Prefetcher::~Prefetcher() {
  absl::MutexLock lock(&mutex_);
  ending_ = true;
  const auto done = [this] {
    mutex_.AssertReaderHeld();
    return jobs_left_ == 0;
  };
  mutex_.Await(absl::Condition(&done));
}

void Prefetcher::ReadAhead() {
  while (ahead_.empty() ||
         (ahead_bytes_ < options_.ahead_bytes && ahead_.size() < kMostPortionsAhead)) {
    Begin(sequence_(next_number_++));
  }
}

void Prefetcher::Begin(Portion portion) {
  Ahead ahead;
  ahead.loaded.portion = std::move(portion);
  const HeadRange heads = groups_[ahead.loaded.portion.group];
  std::vector<std::shared_ptr<Item>> missing;
  for (const Context& context : ahead.loaded.portion.contexts) {
    const TraceCache::Key key{options_.set, context.trace, ahead.loaded.portion.group};
    ahead.loaded.tensors.push_back(cache_->Find(key));
    std::shared_ptr<Item>& item = ahead.items.emplace_back();
    if (ahead.loaded.tensors.back() != nullptr) continue;
    std::weak_ptr<Item>& known = on_their_way_[key];
    item = known.lock();
    if (item == nullptr) {
      const TraceSet::Trace& trace = traces_->trace(context.trace);
      item = std::make_shared<Item>();
      item->key = key;
      item->tensors = std::make_shared<HeadGroupTensors>(trace, heads, traces_->model().kv_heads(),
                                                         traces_->model().head_dim());
      item->bytes = HeadGroupTensors::Bytes(trace, heads, traces_->model().head_dim());
      item->heads_left = heads.size();
      ahead.new_bytes += item->bytes;
      known = item;
      missing.push_back(item);
    }
    ahead.loaded.tensors.back() = item->tensors;
  }
  ahead_bytes_ += ahead.new_bytes;
  read_bytes_ += ahead.new_bytes;
  ahead_.push_back(std::move(ahead));
  if (missing.empty()) return;
  {
    absl::MutexLock lock(&mutex_);
    jobs_left_ += heads.size();
  }
  for (int64_t head = heads.begin; head < heads.end; ++head) {
    threads_->Submit([this, head, missing] { ReadHead(head, missing); });
  }
}

void Prefetcher::ReadHead(int64_t head, const std::vector<std::shared_ptr<Item>>& items) {
  FinishHead(items, ReadInto(head, items));
}

absl::Status Prefetcher::ReadInto(int64_t head, const std::vector<std::shared_ptr<Item>>& items) {
  TraceReader::HeadRead read;
  read.head = HeadId::FromIndex(head, traces_->model().kv_heads());
  std::map<TraceId, HeadGroupTensors*> tensors;
  for (const std::shared_ptr<Item>& item : items) {
    const TraceId& id = traces_->trace(item->key.trace).id;
    read.traces.push_back(id);
    tensors[id] = item->tensors.get();
  }
  return reader_
      ->ReadHead(read,
                 [&](const HeadBlock& block) -> absl::Status {
                   {
                     absl::MutexLock lock(&mutex_);
                     if (ending_) return absl::CancelledError("the training ends");
                   }
                   const auto found = tensors.find(block.key.trace_id);
                   if (found == tensors.end()) return absl::OkStatus();
                   return found->second->Add(block);
                 })
      .status();
}

void Prefetcher::FinishHead(const std::vector<std::shared_ptr<Item>>& items,
                            const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  for (const std::shared_ptr<Item>& item : items) {
    item->status.Update(status);
    if (--item->heads_left > 0 || !item->status.ok()) continue;
    const int64_t incomplete = item->tensors->Finish();
    if (incomplete > 0 && incomplete_.insert({item->key.trace, item->key.group}).second) {
      incomplete_count_ += incomplete;
    }
    cache_->Offer(item->key, item->tensors, item->bytes);
  }
  --jobs_left_;
}

absl::StatusOr<LoadedPortion> Prefetcher::Next() {
  ReadAhead();
  Ahead& front = ahead_.front();
  const auto ready = [this, &front] {
    mutex_.AssertReaderHeld();
    for (const std::shared_ptr<Item>& item : front.items) {
      if (item != nullptr && item->heads_left > 0) return false;
    }
    return true;
  };
  const absl::Time begin = absl::Now();
  {
    absl::MutexLock lock(&mutex_, absl::Condition(&ready));
    for (const std::shared_ptr<Item>& item : front.items) {
      if (item != nullptr) RETURN_IF_ERROR(item->status);
    }
  }
  waited_ += absl::Now() - begin;
  ahead_bytes_ -= front.new_bytes;
  LoadedPortion loaded = std::move(front.loaded);
  for (const std::shared_ptr<Item>& item : front.items) {
    // The rest is shared with portions to come.
    if (item != nullptr && item.use_count() == 1) on_their_way_.erase(item->key);
  }
  ahead_.pop_front();
  ReadAhead();
  return loaded;
}

int64_t Prefetcher::incomplete() const {
  absl::MutexLock lock(&mutex_);
  return incomplete_count_;
}

}  // namespace kvp

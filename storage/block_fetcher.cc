#include "storage/block_fetcher.h"

#include <utility>

namespace kvp {

BlockFetcher::BlockFetcher(int threads, Read read) : read_(std::move(read)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

BlockFetcher::~BlockFetcher() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void BlockFetcher::Ask(const BlockKey& key, int64_t bytes) {
  Place place;
  place.fetched = std::make_unique<Fetched>();
  place.fetched->key = key;
  place.fetched->bytes = bytes;
  outstanding_bytes_ += bytes;
  absl::MutexLock lock(&mutex_);
  places_.push_back(std::move(place));
  ++asked_;
}

std::unique_ptr<BlockFetcher::Fetched> BlockFetcher::Next() {
  absl::MutexLock lock(&mutex_);
  const auto done = [this] {
    mutex_.AssertReaderHeld();
    return places_.front().done;
  };
  mutex_.Await(absl::Condition(&done));
  std::unique_ptr<Fetched> fetched = std::move(places_.front().fetched);
  places_.pop_front();
  --begun_;
  ++given_;
  outstanding_bytes_ -= fetched->bytes;
  return fetched;
}

void BlockFetcher::Run() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    const auto has_work = [this] {
      mutex_.AssertReaderHeld();
      return stopping_ || begun_ < places_.size();
    };
    mutex_.Await(absl::Condition(&has_work));
    if (stopping_) return;
    // A deque's elements stay where they are while others come and go at its ends.
    Place& place = places_[begun_++];
    Fetched& fetched = *place.fetched;
    mutex_.Unlock();
    fetched.status = read_(fetched.key, &fetched.encoded);
    mutex_.Lock();
    place.done = true;
  }
}

}  // namespace kvp

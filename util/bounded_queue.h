// A first-in-first-out queue between threads that holds at most a given number of items: whoever
// makes items waits for whoever takes them.

#ifndef KVP_UTIL_BOUNDED_QUEUE_H_
#define KVP_UTIL_BOUNDED_QUEUE_H_

#include <algorithm>
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace kvp {

// Thread-safe; Push and Pop block.
template <typename T>
class BoundedQueue {
 public:
  // At least one item fits, whatever `capacity` says.
  explicit BoundedQueue(size_t capacity) : capacity_(std::max<size_t>(1, capacity)) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // Waits until there is room. False, with `item` dropped, once the queue is closed or cancelled.
  bool Push(T item) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_, absl::Condition(this, &BoundedQueue::MayPush));
    if (closed_) return false;
    items_.push_back(std::move(item));
    return true;
  }

  // Waits for an item. Nothing once the queue is closed and empty, or cancelled.
  std::optional<T> Pop() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_, absl::Condition(this, &BoundedQueue::MayPop));
    if (items_.empty()) return std::nullopt;
    std::optional<T> item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

  // Lets no more in; what is there can still be taken.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    closed_ = true;
  }

  // Closes, and drops what is there.
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_) {
    std::deque<T> dropped;  // destroyed after the lock is given back
    const absl::MutexLock lock(&mutex_);
    closed_ = true;
    items_.swap(dropped);
  }

 private:
  bool MayPush() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closed_ || items_.size() < capacity_;
  }
  bool MayPop() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_ || !items_.empty(); }

  const size_t capacity_;
  absl::Mutex mutex_;
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace kvp

#endif  // KVP_UTIL_BOUNDED_QUEUE_H_

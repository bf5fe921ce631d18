// The threads that read traces while the others compute.

#ifndef KVP_TRAINER_FETCH_THREADS_H_
#define KVP_TRAINER_FETCH_THREADS_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace kvp {

// Runs jobs in the order in which they come, several at a time. Thread-safe.
class FetchThreads {
 public:
  explicit FetchThreads(int threads);
  // Runs what there is, and ends.
  ~FetchThreads();
  FetchThreads(const FetchThreads&) = delete;
  FetchThreads& operator=(const FetchThreads&) = delete;

  // Never blocks.
  void Submit(std::function<void()> job) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace kvp

#endif  // KVP_TRAINER_FETCH_THREADS_H_

#include "eval/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace kvp {
absl::Status ParallelFor(int64_t count, int64_t threads,
                         const std::function<absl::Status(int64_t)>& work) {
  std::atomic<int64_t> next{0};
  absl::Mutex mutex;
  int64_t failed ABSL_GUARDED_BY(mutex) = count;
  absl::Status status ABSL_GUARDED_BY(mutex);
  const auto run = [&] {
    for (int64_t i = next++; i < count; i = next++) {
      absl::Status result = work(i);
      if (result.ok()) continue;
      next = count;
      absl::MutexLock lock(&mutex);
      if (i < failed) {
        failed = i;
        status = std::move(result);
      }
    }
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < std::min(threads, count); ++i) others.emplace_back(run);
  run();
  for (std::thread& thread : others) thread.join();
  absl::MutexLock lock(&mutex);
  return status;
}

}  // namespace kvp

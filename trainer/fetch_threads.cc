#include "trainer/fetch_threads.h"

#include <utility>

namespace kvp {

FetchThreads::FetchThreads(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

FetchThreads::~FetchThreads() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void FetchThreads::Submit(std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  jobs_.push_back(std::move(job));
}

void FetchThreads::Run() {
  while (true) {
    std::function<void()> job;
    {
      const auto has_work = [this] {
        mutex_.AssertReaderHeld();
        return ending_ || !jobs_.empty();
      };
      absl::MutexLock lock(&mutex_, absl::Condition(&has_work));
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace kvp

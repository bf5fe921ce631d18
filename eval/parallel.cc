#include "eval/parallel.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "ATen/Parallel.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace kvp {
namespace {

// torch doesn't pass its number of threads on to OpenBLAS, and which BLAS the process has is known
// only when it runs.
void SetBlasThreads(int64_t threads) {
  using Function = void (*)(int);
  static const auto set =
      reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
  if (set != nullptr) set(static_cast<int>(threads));
}

int64_t BlasThreads() {
  using Function = int (*)();
  static const auto get =
      reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, "openblas_get_num_threads"));
  return get == nullptr ? 1 : get();
}

}  // namespace

void SetMathThreads(int64_t threads) {
  at::set_num_threads(static_cast<int>(threads));
  SetBlasThreads(threads);
}

SingleThreadedMath::SingleThreadedMath()
    : torch_threads_(at::get_num_threads()), blas_threads_(BlasThreads()) {
  SetMathThreads(1);
}

SingleThreadedMath::~SingleThreadedMath() {
  at::set_num_threads(static_cast<int>(torch_threads_));
  SetBlasThreads(blas_threads_);
}

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

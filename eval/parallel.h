// Independent work on several threads, and the maths library's own threads kept out of its way.

#ifndef KVP_EVAL_PARALLEL_H_
#define KVP_EVAL_PARALLEL_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace kvp {

// Threads that torch and OpenBLAS use within an operation, for the whole process.
void SetMathThreads(int64_t threads);

// While it lives, an operation runs on the thread that calls it; then the numbers that were are
// restored. To be made and destroyed while no other thread computes.
class SingleThreadedMath {
 public:
  SingleThreadedMath();
  ~SingleThreadedMath();
  SingleThreadedMath(const SingleThreadedMath&) = delete;
  SingleThreadedMath& operator=(const SingleThreadedMath&) = delete;

 private:
  const int64_t torch_threads_;
  const int64_t blas_threads_;
};

// Calls work(i) for every i in [0, count), on `threads` threads. After the first error no further
// call begins; that error is returned, the one of the smallest i if there are several. work must be
// thread-safe for different i.
absl::Status ParallelFor(int64_t count, int64_t threads,
                         const std::function<absl::Status(int64_t)>& work);

}  // namespace kvp

#endif  // KVP_EVAL_PARALLEL_H_

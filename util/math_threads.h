// The maths libraries' own threads: torch's and OpenBLAS's, which know nothing of each other.

#ifndef KVP_UTIL_MATH_THREADS_H_
#define KVP_UTIL_MATH_THREADS_H_

#include <cstdint>

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

}  // namespace kvp

#endif  // KVP_UTIL_MATH_THREADS_H_

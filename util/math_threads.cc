#include "util/math_threads.h"

#include <dlfcn.h>

#include "ATen/Parallel.h"

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

}  // namespace kvp

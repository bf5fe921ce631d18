// Independent work on several threads.

#ifndef KVP_EVAL_PARALLEL_H_
#define KVP_EVAL_PARALLEL_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace kvp {

// Calls work(i) for every i in [0, count), on `threads` threads. After the first error no further
// call begins; that error is returned, the one of the smallest i if there are several. work must be
// thread-safe for different i.
absl::Status ParallelFor(int64_t count, int64_t threads,
                         const std::function<absl::Status(int64_t)>& work);

}  // namespace kvp

#endif  // KVP_EVAL_PARALLEL_H_

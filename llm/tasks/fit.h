// How large a haystack may be for a prompt of given length.

#ifndef KVP_LLM_TASKS_FIT_H_
#define KVP_LLM_TASKS_FIT_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"

namespace kvp {

struct Fit {
  int64_t size = 0;
  int64_t tokens = 0;  // at that size, at most the limit
};

// The largest size in [minimum, maximum] with count(size) <= limit, or one with at least 255/256 of
// the limit. `count` should grow with the size; where it doesn't quite, the size found still keeps
// the limit. Counting tokens of a long prompt is dear, so sizes are interpolated: a handful of
// calls. OUT_OF_RANGE, with the number of tokens, where even the minimum has more than the limit.
absl::StatusOr<Fit> LargestFitting(int64_t minimum, int64_t maximum, int64_t limit,
                                   const std::function<int64_t(int64_t size)>& count);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_FIT_H_

// Which (layer, KV head) is which, and who owns it: the one place where heads are numbered and
// split over shards and over trainer ranks.

#ifndef KVP_UTIL_HEAD_SPLIT_H_
#define KVP_UTIL_HEAD_SPLIT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace kvp {

// One KV head of one layer. Heads are numbered layer-major: index = layer * kv_heads + kv_head.
struct HeadId {
  int32_t layer = 0;
  int32_t kv_head = 0;

  static HeadId FromIndex(int64_t index, int32_t kv_heads) {
    return {static_cast<int32_t>(index / kv_heads), static_cast<int32_t>(index % kv_heads)};
  }
  int64_t Index(int32_t kv_heads) const { return int64_t{layer} * kv_heads + kv_head; }

  friend bool operator==(HeadId a, HeadId b) {
    return a.layer == b.layer && a.kv_head == b.kv_head;
  }
  friend bool operator!=(HeadId a, HeadId b) { return !(a == b); }
};

// Head indices [begin, end).
struct HeadRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool contains(int64_t index) const { return index >= begin && index < end; }
  friend bool operator==(HeadRange a, HeadRange b) { return a.begin == b.begin && a.end == b.end; }
};

// Splits `heads` heads into `parts` contiguous ranges, in order, that cover every head once. Each
// range but the last ones holds a whole number of groups of `group_size` heads (a rank trains whole
// groups, so that the shape of a group's matrices, and with it the rounding, doesn't depend on the
// number of ranks); sizes differ by one group at most, and ranges are empty where there are more
// parts than groups.
//
// INVALID_ARGUMENT when heads, parts or group_size isn't positive.
absl::StatusOr<std::vector<HeadRange>> SplitHeads(int64_t heads, int64_t parts,
                                                  int64_t group_size = 1);

}  // namespace kvp

#endif  // KVP_UTIL_HEAD_SPLIT_H_

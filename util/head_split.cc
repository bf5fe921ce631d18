#include "util/head_split.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace kvp {

absl::StatusOr<std::vector<HeadRange>> SplitHeads(int64_t heads, int64_t parts,
                                                  int64_t group_size) {
  if (heads <= 0 || parts <= 0 || group_size <= 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("can't split heads=%d over parts=%d in groups of group_size=%d: all three "
                        "must be positive",
                        heads, parts, group_size));
  }
  const int64_t groups = (heads + group_size - 1) / group_size;
  std::vector<HeadRange> ranges;
  ranges.reserve(parts);
  int64_t first_group = 0;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t next_group = first_group + groups / parts + (part < groups % parts ? 1 : 0);
    ranges.push_back(
        {std::min(heads, first_group * group_size), std::min(heads, next_group * group_size)});
    first_group = next_group;
  }
  return ranges;
}

}  // namespace kvp

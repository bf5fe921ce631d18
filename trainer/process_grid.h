// Which rank trains what: heads × replicas.

#ifndef KVP_TRAINER_PROCESS_GRID_H_
#define KVP_TRAINER_PROCESS_GRID_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "util/head_split.h"

namespace kvp {

// Ranks first split the heads, in whole groups, and have nothing to tell each other while they
// train. Only where there are more ranks than groups do several, the replicas of a part, train the
// same heads on shares of each batch. Rank r has part r % parts; its replica 0s are the ranks from
// 0 on, in the heads' order.
struct ProcessGrid {
  // INVALID_ARGUMENT where a number isn't positive.
  static absl::StatusOr<ProcessGrid> Make(int rank, int ranks, int64_t heads, int64_t group_size);

  int parts = 1;
  int part = 0;
  int replicas = 1;  // of this part
  int replica = 0;
  // The heads of this rank's part, and the groups that they make.
  HeadRange heads;
  std::vector<HeadRange> groups;
};

// The heads of all groups: [0, group_size), and so on; the last may be smaller.
std::vector<HeadRange> GroupsOf(HeadRange heads, int64_t group_size);

}  // namespace kvp

#endif  // KVP_TRAINER_PROCESS_GRID_H_

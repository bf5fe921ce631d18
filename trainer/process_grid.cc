#include "trainer/process_grid.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {

std::vector<HeadRange> GroupsOf(HeadRange heads, int64_t group_size) {
  std::vector<HeadRange> groups;
  for (int64_t begin = heads.begin; begin < heads.end; begin += group_size) {
    groups.push_back({begin, std::min(begin + group_size, heads.end)});
  }
  return groups;
}

absl::StatusOr<ProcessGrid> ProcessGrid::Make(int rank, int ranks, int64_t heads,
                                              int64_t group_size) {
  if (rank < 0 || rank >= ranks || heads < 1 || group_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", rank, " of ", ranks, " for ", heads,
                                                   " heads in groups of ", group_size));
  }
  ProcessGrid grid;
  const int64_t groups = (heads + group_size - 1) / group_size;
  grid.parts = static_cast<int>(std::min<int64_t>(ranks, groups));
  grid.part = rank % grid.parts;
  grid.replica = rank / grid.parts;
  grid.replicas = (ranks - grid.part + grid.parts - 1) / grid.parts;
  ASSIGN_OR_RETURN(const std::vector<HeadRange> ranges, SplitHeads(heads, grid.parts, group_size));
  grid.heads = ranges[grid.part];
  grid.groups = GroupsOf(grid.heads, group_size);
  return grid;
}

}  // namespace kvp

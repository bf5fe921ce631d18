#include "trainer/process_grid.h"

#include <map>

#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

std::vector<ProcessGrid> AllRanks(int ranks, int64_t heads, int64_t group_size) {
  std::vector<ProcessGrid> grids;
  for (int rank = 0; rank < ranks; ++rank) {
    grids.push_back(ProcessGrid::Make(rank, ranks, heads, group_size).value());
  }
  return grids;
}

TEST(ProcessGridTest, RanksUpToTheNumberOfGroupsHaveHeadsOfTheirOwn) {
  for (int ranks = 1; ranks <= 4; ++ranks) {
    int64_t next = 0;
    for (const ProcessGrid& grid : AllRanks(ranks, 14, 4)) {
      EXPECT_EQ(grid.replicas, 1);
      EXPECT_EQ(grid.parts, ranks);
      EXPECT_EQ(grid.heads.begin, next);
      EXPECT_GT(grid.heads.size(), 0);
      next = grid.heads.end;
    }
    EXPECT_EQ(next, 14);
  }
}

TEST(ProcessGridTest, GroupsAreTheSameHoweverManyRanksThereAre) {
  const std::vector<HeadRange> expected = {{0, 4}, {4, 8}, {8, 12}, {12, 14}};
  for (int ranks = 1; ranks <= 9; ++ranks) {
    std::vector<HeadRange> groups;
    for (const ProcessGrid& grid : AllRanks(ranks, 14, 4)) {
      if (grid.replica == 0) groups.insert(groups.end(), grid.groups.begin(), grid.groups.end());
    }
    EXPECT_EQ(groups, expected) << ranks << " ranks";
  }
}

TEST(ProcessGridTest, MoreRanksThanGroupsAreReplicasThatCountTheirOwnNumber) {
  std::map<int, int> ranks_of_part;
  const std::vector<ProcessGrid> grids = AllRanks(11, 14, 4);
  for (const ProcessGrid& grid : grids) {
    EXPECT_EQ(grid.parts, 4);
    EXPECT_EQ(grid.replica, ranks_of_part[grid.part]++);
    EXPECT_EQ(grid.groups.size(), 1u);
  }
  EXPECT_EQ(ranks_of_part, (std::map<int, int>{{0, 3}, {1, 3}, {2, 3}, {3, 2}}));
  for (const ProcessGrid& grid : grids) {
    EXPECT_EQ(grid.replicas, ranks_of_part[grid.part]);
    EXPECT_EQ(grid.heads, grids[grid.part].heads);
  }
}

TEST(ProcessGridTest, NumbersThatMakeNoSenseAreRefused) {
  EXPECT_THAT(ProcessGrid::Make(2, 2, 4, 4).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 2 of 2")));
  EXPECT_THAT(ProcessGrid::Make(0, 1, 4, 0).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("groups of 0")));
}

}  // namespace
}  // namespace kvp

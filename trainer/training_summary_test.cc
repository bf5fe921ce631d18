#include "trainer/training_summary.h"

#include <cmath>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Two layers of two heads.
TrainingResult Result() {
  TrainingResult result;
  result.agents.kv_heads = 2;
  result.agents.held_out_cost = 1.5;
  result.held_out_cost = {1.25, 2.0, 3.5, 1.0};
  result.retained.assign(4, {0.9, 0.8, 0.7, 0.6});
  result.best_steps = {100, 50, 100, 100};
  result.stopped_heads = {1};
  result.heuristics = {"random", "key_diff"};
  result.heuristic_costs = {{6, 3}, {5, 7}, {4, 2}, {1, 1}};
  result.training_seconds = 100;
  result.waiting_seconds = 0.5;
  return result;
}

TEST(TrainingSummaryTest, EachHeadIsComparedWithItsOwnBestHeuristic) {
  const std::vector<HeadRow> table = HeadTable(Result());
  ASSERT_EQ(table.size(), 4u);
  EXPECT_EQ(table[0].best_heuristic, "key_diff");
  EXPECT_DOUBLE_EQ(table[0].gap_closed, (3 - 1.25) / (3 - 1));
  EXPECT_EQ(table[1].best_heuristic, "random");
  EXPECT_DOUBLE_EQ(table[1].gap_closed, 0.75);
  EXPECT_TRUE(table[1].stopped);
  EXPECT_EQ(table[1].best_step, 50);
  EXPECT_DOUBLE_EQ(table[2].gap_closed, -1.5);
  EXPECT_EQ(table[2].layer, 1);
  EXPECT_EQ(table[2].kv_head, 0);
  // The heuristic is the oracle's equal.
  EXPECT_DOUBLE_EQ(table[3].gap_closed, 1);
}

TEST(TrainingSummaryTest, TheLinesShowTheWorstHeadsFirstAndTheMean) {
  const std::vector<std::string> lines = HeadTableLines(HeadTable(Result()), 2);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_THAT(lines[1], AllOf(HasSubstr("layer 1, KV head 0"), HasSubstr("-150.0 %")));
  EXPECT_THAT(lines[2],
              AllOf(HasSubstr("layer 0, KV head 1"), HasSubstr("75.0 %"), HasSubstr("diverged")));
  EXPECT_THAT(lines[3], HasSubstr("other 2 heads"));
  EXPECT_THAT(lines[4], AllOf(HasSubstr("mean"), HasSubstr("1.9375"), HasSubstr("28.1 %")));
}

TEST(TrainingSummaryTest, TheJsonHasTheTableAndWhatItWasMadeFrom) {
  const TrainingOptions options;
  const nlohmann::json json = SummaryJson(options, Result(), 3, 120);
  EXPECT_EQ(json.at("per_head").size(), 4u);
  EXPECT_EQ(json.at("per_head")[2].at("best_heuristic"), "key_diff");
  EXPECT_EQ(json.at("per_head")[2].at("gap_closed"), -1.5);
  EXPECT_EQ(json.at("heuristic_costs").at("random"), 4.0);
  EXPECT_EQ(json.at("data_wait_share"), 0.005);
  EXPECT_EQ(json.at("retained").at("0.25"), 0.8);
  EXPECT_EQ(json.at("ranks"), 3);
  EXPECT_EQ(json.at("settings").at("batch"), "8");
}

TEST(TrainingSummaryTest, ACostThatIsNoNumberIsNull) {
  TrainingResult result = Result();
  result.held_out_cost[1] = INFINITY;
  const nlohmann::json json = SummaryJson({}, result, 1, 1);
  EXPECT_TRUE(json.at("held_out_cost_per_head")[1].is_null());
  EXPECT_TRUE(json.at("per_head")[1].at("gap_closed").is_null());
  EXPECT_THAT(HeadTableLines(HeadTable(result), 1)[1], HasSubstr("layer 0, KV head 1"));
}

}  // namespace
}  // namespace kvp

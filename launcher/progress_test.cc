#include <cstdio>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/log_follower.h"
#include "launcher/progress_display.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ParseProgressTest, FindsCountsUnitAndDetail) {
  const auto progress = ParseProgress(
      "2026-01-31T12:00:00Z I collector/0: progress 12/96 traces, 3.1 traces/s, text");
  ASSERT_TRUE(progress.has_value());
  EXPECT_EQ(progress->done, 12);
  EXPECT_EQ(progress->total, 96);
  EXPECT_EQ(progress->unit, "traces");
  EXPECT_EQ(progress->detail, "3.1 traces/s, text");
}

TEST(ParseProgressTest, OtherLinesAreNoProgress) {
  for (const char* line :
       {"", "progress", "progress 12", "progress 12/", "progress x/2 a", "progress 1/0 steps",
        "12/96 traces", "progress 99999999999999999999/2"}) {
    EXPECT_FALSE(ParseProgress(line).has_value()) << line;
  }
}

TEST(LogFollowerTest, KeepsTheLastProgressOfWholeLines) {
  const std::string path = testing::TempDir() + "/follow.log";
  std::ofstream log(path, std::ios::trunc);
  log << "progress 9/9 old\n" << std::flush;
  LogFollower follower(path, 17);
  follower.Poll();
  EXPECT_FALSE(follower.progress().has_value());
  log << "progress 1/4 steps\nother\nprogress 2/4 st" << std::flush;
  follower.Poll();
  ASSERT_TRUE(follower.progress().has_value());
  EXPECT_EQ(follower.progress()->done, 1);
  log << "eps, loss 3\n" << std::flush;
  follower.Poll();
  EXPECT_EQ(follower.progress()->done, 2);
  EXPECT_EQ(follower.progress()->detail, "loss 3");
}

TEST(LastLinesTest, AreThoseOfTheRun) {
  const std::string path = testing::TempDir() + "/last.log";
  ASSERT_OK(WriteFileAtomically(path, {"old\nold\none\n\ntwo\nthree"}));
  EXPECT_THAT(LastLines(path, 8, 2), ElementsAre("two", "three"));
  EXPECT_THAT(LastLines(path, 8, 9), ElementsAre("one", "two", "three"));
  EXPECT_THAT(LastLines(path + ".none", 0, 9), ElementsAre());
  ASSERT_OK(WriteFileAtomically(path, {std::string(1000, 'x')}));
  EXPECT_EQ(LastLines(path, 0, 1)[0].size(), 400);
}

class ProgressDisplayTest : public testing::Test {
 protected:
  void SetUp() override { out_ = std::tmpfile(); }
  void TearDown() override { std::fclose(out_); }

  std::string Output() {
    std::string text(std::ftell(out_), '\0');
    std::rewind(out_);
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), out_), text.size());
    return text;
  }

  FILE* out_ = nullptr;
  const absl::Time begin_ = absl::FromUnixSeconds(1000);
};

TEST_F(ProgressDisplayTest, WritesPlainLinesSeldomWithoutATerminal) {
  ProgressDisplay display(out_, /*terminal=*/false);
  display.Begin(1, 3, "train", begin_);
  display.Update({1, 8, "steps", ""}, begin_ + absl::Seconds(5));
  display.Update({2, 8, "steps", "loss 2"}, begin_ + absl::Seconds(11));
  display.Update({3, 8, "steps", ""}, begin_ + absl::Seconds(12));
  display.Update({3, 8, "steps", ""}, begin_ + absl::Seconds(40));
  display.End("done", begin_ + absl::Seconds(65));
  EXPECT_EQ(Output(),
            "[1/3] train\n"
            "[1/3] train: 2/8 steps, 11.0 s, loss 2\n"
            "[1/3] train: done in 1 min 05 s (3/8 steps)\n");
}

TEST_F(ProgressDisplayTest, RedrawsOneLineOnATerminal) {
  ProgressDisplay display(out_, /*terminal=*/true);
  display.Begin(1, 3, "train", begin_);
  display.Update({2, 8, "steps", ""}, begin_ + absl::Seconds(1));
  display.Update({4, 8, "steps", std::string(500, 'x')}, begin_ + absl::Seconds(2));
  const std::string text = Output();
  EXPECT_THAT(text, HasSubstr("\r\x1b[K[1/3] train [#####...............] 2/8 steps  1.0 s"));
  EXPECT_THAT(text, HasSubstr("\r\x1b[K[1/3] train [##########..........] 4/8 steps  2.0 s"));
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  EXPECT_THAT(text, Not(HasSubstr(std::string(80, 'x'))));
}

}  // namespace
}  // namespace kvp

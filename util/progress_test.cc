#include "util/progress.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ProgressTest, TheBarFillsAndFitsTheTerminal) {
  EXPECT_EQ(internal::ProgressBar(12, 24, "traces", "3 traces/s", 80),
            "[############............] 12/24 traces, 3 traces/s");
  EXPECT_EQ(internal::ProgressBar(0, 0, "traces", "", 80), "[########################] 0/0 traces");
  EXPECT_EQ(internal::ProgressBar(12, 24, "traces", std::string(100, 'x'), 40).size(), 40);
}

TEST(ProgressTest, ElsewhereThanOnATerminalALineIsLoggedAtMostOnceASecond) {
  testing::internal::CaptureStderr();
  Progress progress("steps", 3);
  progress.Update(1, "loss 2.5");
  progress.Update(2, "loss 2.4");
  progress.Finish(3, "loss 2.3");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("progress 1/3 steps, loss 2.5\n"));
  EXPECT_THAT(text, Not(HasSubstr("progress 2/3")));
  EXPECT_THAT(text, HasSubstr("progress 3/3 steps, loss 2.3\n"));
}

}  // namespace
}  // namespace kvp

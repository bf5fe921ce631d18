#include "llm/tasks/essay.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(EssayTest, RunsOfSentencesAreCutAtAWordAndWrapAround) {
  ASSERT_OK_AND_ASSIGN(
      const Essay essay,
      Essay::Create("It rained\nall day.  Mr. Elton\tstayed. Why?\n\nNobody knew."));
  ASSERT_EQ(essay.size(), 4u);
  EXPECT_THAT(essay.Sentences(0, 0), IsEmpty());
  EXPECT_THAT(essay.Sentences(0, 1), ElementsAre("It"));
  EXPECT_THAT(essay.Sentences(0, 4), ElementsAre("It rained all day."));
  EXPECT_THAT(essay.Sentences(0, 6), ElementsAre("It rained all day.", "Mr. Elton"));
  EXPECT_THAT(essay.Sentences(2, 6), ElementsAre("Why?", "Nobody knew.", "It rained all"));
}

TEST(EssayTest, ATextWithoutWordsIsRefused) {
  EXPECT_THAT(Essay::Create(" \n\t"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no words")));
}

}  // namespace
}  // namespace kvp

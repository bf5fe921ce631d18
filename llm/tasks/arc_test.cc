#include "llm/tasks/arc.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ArcTest, ListsTheChoicesAndAnswersWithTheLabel) {
  const std::string path = "llm/tasks/testdata/arc_challenge.jsonl";
  ASSERT_OK_AND_ASSIGN(const std::vector<TaskPrompt> prompts, ReadArcChallenge(path));
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].PromptText(),
            "Question: Which tool is best to measure the mass of a pebble?\nA. a ruler\n"
            "B. a balance\nC. a thermometer\nD. a stopwatch\nAnswer:");
  EXPECT_EQ(prompts[0].answer, " B");
  EXPECT_EQ(prompts[0].task, "arc_challenge");
  EXPECT_THAT(prompts[1].references, ElementsAre("3"));
  EXPECT_EQ(prompts[1].origin, path + ":2");
}

TEST(ArcTest, AMalformedLineIsNamedWithFieldAndValue) {
  const std::string path = testing::TempDir() + "/arc.jsonl";
  const auto expect = [&path](const std::string& line, const std::string& message) {
    ASSERT_OK(WriteFileAtomically(path, {line}));
    EXPECT_THAT(ReadArcChallenge(path),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path + ":1: " + message)));
  };
  expect("{\"answerKey\": \"A\"}", "question is missing");
  expect("{\"question\": \"q\", \"answerKey\": \"A\"}", "question is \"q\"");
  expect("{\"question\": {\"stem\": \"s\", \"choices\": []}, \"answerKey\": \"A\"}",
         "question.choices is []");
  expect(
      "{\"question\": {\"stem\": \"s\", \"choices\": [{\"label\": \"A\"}]}, \"answerKey\": "
      "\"A\"}",
      "question.choices[0].text is missing");
  expect(
      "{\"question\": {\"stem\": \"s\", \"choices\": [{\"label\": \"A\", \"text\": \"t\"}]}, "
      "\"answerKey\": \"E\"}",
      "answerKey is \"E\"");
  expect(
      "{\"question\": {\"stem\": \"s\", \"choices\": [{\"label\": \"A\", \"text\": \"t\"}, "
      "{\"label\": \"A\", \"text\": \"u\"}]}, \"answerKey\": \"A\"}",
      "question.choices[1].label is \"A\"");
}

}  // namespace
}  // namespace kvp

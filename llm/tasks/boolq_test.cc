#include "llm/tasks/boolq.h"

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

TEST(BoolQTest, AsksAboutThePassage) {
  const std::string path = "llm/tasks/testdata/boolq.jsonl";
  ASSERT_OK_AND_ASSIGN(const std::vector<TaskPrompt> prompts, ReadBoolQ(path));
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].PromptText(),
            "The harbor has a red lamp and a green lamp. The red lamp is the brighter of the two "
            "and is seen from the outer rocks.\nQuestion: is the green lamp brighter than the red "
            "lamp?\nAnswer:");
  EXPECT_EQ(prompts[0].answer, " no");
  EXPECT_EQ(prompts[0].task, "boolq");
  EXPECT_EQ(prompts[0].metric, TaskMetric::kFirstWord);
  EXPECT_EQ(prompts[1].origin, path + ":2");
  EXPECT_EQ(prompts[1].answer, " yes");
  EXPECT_THAT(prompts[1].references, ElementsAre("yes"));
}

TEST(BoolQTest, AMalformedLineIsNamedWithFieldAndValue) {
  const std::string path = testing::TempDir() + "/boolq.jsonl";
  const std::string good = "{\"question\": \"q\", \"passage\": \"p\", \"answer\": true}\n";
  const auto expect = [&](const std::string& line, const std::string& message) {
    ASSERT_OK(WriteFileAtomically(path, {good, "\n", line, "\n"}));
    EXPECT_THAT(ReadBoolQ(path),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path + ":3: " + message)));
  };
  expect("{\"question\"", "is not valid JSON");
  expect("[1]", "is a JSON array");
  expect("{\"question\": \"q\", \"passage\": \"p\", \"answer\": \"yes\"}", "answer is \"yes\"");
  expect("{\"question\": \"q\", \"answer\": true}", "passage is missing");
  expect("{\"question\": \"\", \"passage\": \"p\", \"answer\": true}", "question is \"\"");
  ASSERT_OK(WriteFileAtomically(path, {"\n"}));
  EXPECT_THAT(ReadBoolQ(path),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path + ": no lines")));
}

}  // namespace
}  // namespace kvp

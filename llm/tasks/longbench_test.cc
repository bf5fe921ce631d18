#include "llm/tasks/longbench.h"

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

TEST(LongBenchTest, PassageRetrievalHasThePublishedPrompt) {
  const std::string path = "llm/tasks/testdata/passage_retrieval_en.jsonl";
  ASSERT_OK_AND_ASSIGN(const std::vector<TaskPrompt> prompts, ReadPassageRetrieval(path));
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[1].PromptText(),
            "Here are 30 paragraphs from Wikipedia, along with an abstract. Please determine which "
            "paragraph the abstract is from.\n\nParagraph 1: Melk Cross is a town of weavers.\n\n"
            "Paragraph 2: Quiet Bridge was finished in 1702.\n\nThe following is an abstract.\n\n"
            "A town whose people weave is described.\n\nPlease enter the number of the paragraph "
            "that the abstract is from. The answer format must be like \"Paragraph 1\", "
            "\"Paragraph 2\", etc.\n\nThe answer is: ");
  EXPECT_EQ(prompts[0].answer, "Paragraph 2");
  EXPECT_THAT(prompts[0].references, ElementsAre("Paragraph 2"));
  EXPECT_EQ(prompts[0].metric, TaskMetric::kParagraphNumber);
  EXPECT_EQ(prompts[1].origin, path + ":2");
}

TEST(LongBenchTest, GovReportHasThePublishedPrompt) {
  ASSERT_OK_AND_ASSIGN(const std::vector<TaskPrompt> prompts,
                       ReadGovReport("llm/tasks/testdata/gov_report.jsonl"));
  ASSERT_EQ(prompts.size(), 1u);
  EXPECT_EQ(prompts[0].PromptText(),
            "You are given a report by a government agency. Write a one-page summary of the report."
            "\n\nReport:\nThe Office of Bridges inspected forty bridges last year. Seven needed "
            "repair. The Office had funds for three repairs and asked for more.\n\nNow, write a "
            "one-page summary of the report.\n\nSummary:");
  EXPECT_EQ(prompts[0].answer,
            " Of forty bridges inspected, seven needed repair, for which the Office lacked funds.");
  EXPECT_EQ(prompts[0].max_new_tokens, 512);
}

TEST(LongBenchTest, AMalformedLineIsNamedWithFieldAndValue) {
  const std::string path = testing::TempDir() + "/longbench.jsonl";
  const auto expect = [&path](const std::string& line, const std::string& message) {
    ASSERT_OK(WriteFileAtomically(path, {line}));
    EXPECT_THAT(ReadPassageRetrieval(path),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path + ":1: " + message)));
  };
  const std::string dataset = "{\"dataset\": \"passage_retrieval_en\", ";
  expect("{\"dataset\": \"gov_report\"}", "dataset is \"gov_report\"");
  expect("{\"input\": \"i\"}", "dataset is missing");
  expect(dataset + "\"input\": \"\"}", "input is \"\"");
  expect(dataset + "\"input\": \"i\", \"context\": 3}", "context is 3");
  expect(dataset + "\"input\": \"i\", \"context\": \"c\", \"answers\": []}", "answers is []");
  expect(dataset + "\"input\": \"i\", \"context\": \"c\", \"answers\": [\"\"]}",
         "answers is [\"\"]");
  ASSERT_OK(WriteFileAtomically(
      path, {"{\"dataset\": \"passage_retrieval_en_e\", \"input\": \"i\", \"context\": \"c\", "
             "\"answers\": [\"Paragraph 1\"]}"}));
  EXPECT_OK(ReadPassageRetrieval(path));
}

}  // namespace
}  // namespace kvp

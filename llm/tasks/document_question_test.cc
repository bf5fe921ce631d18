#include "llm/tasks/document_question.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using ::testing::UnorderedElementsAre;

// Forty documents; the question has 7 and 8, and 20 to 24 are related.
QuestionSet Set() {
  QuestionSet set;
  for (int i = 0; i < 40; ++i) set.documents.push_back(absl::StrCat("Text ", 100 + i, "."));
  QuestionSet::Question question;
  question.text = "Which?";
  question.answers = {"that one", "that"};
  question.documents = {7, 8};
  question.related = {20, 21, 22, 23, 24};
  set.questions.push_back(question);
  return set;
}

// The documents of a prompt, in its order; the text around them is checked.
std::vector<std::string> DocumentsOf(const TaskPrompt& prompt) {
  const std::string instruction =
      "Answer the question based on the given documents. Only give me the answer and do not output "
      "any other words.\n\n";
  const std::string before = instruction + "The following are given documents.\n\n";
  const std::string after = "\n\n" + instruction + "Question: Which?";
  EXPECT_TRUE(absl::StartsWith(prompt.input, before)) << prompt.input;
  EXPECT_TRUE(absl::EndsWith(prompt.input, after)) << prompt.input;
  std::vector<std::string> documents = absl::StrSplit(
      prompt.input.substr(before.size(), prompt.input.size() - before.size() - after.size()),
      "\n\n");
  for (size_t i = 0; i < documents.size(); ++i) {
    const std::string heading = absl::StrCat("Document ", i + 1, ":\n");
    EXPECT_TRUE(absl::StartsWith(documents[i], heading)) << documents[i];
    documents[i] = documents[i].substr(heading.size());
  }
  return documents;
}

TEST(DocumentQuestionTest, OwnDocumentsComeFirstThenRelatedOnesThenOthers) {
  const QuestionSet set = Set();
  EXPECT_THAT(DocumentsOf(DocumentQuestionPrompt(set, 0, 1, 2)),
              UnorderedElementsAre("Text 107.", "Text 108."));
  const std::vector<std::string> related = {"Text 120.", "Text 121.", "Text 122.", "Text 123.",
                                            "Text 124."};
  const std::vector<std::string> four = DocumentsOf(DocumentQuestionPrompt(set, 0, 1, 4));
  EXPECT_EQ(four.size(), 4u);
  EXPECT_THAT(four, IsSupersetOf({"Text 107.", "Text 108."}));
  for (const std::string& document : four) {
    EXPECT_TRUE(document == "Text 107." || document == "Text 108." ||
                std::count(related.begin(), related.end(), document) == 1);
  }
  const std::vector<std::string> twenty = DocumentsOf(DocumentQuestionPrompt(set, 0, 1, 20));
  EXPECT_EQ(std::set<std::string>(twenty.begin(), twenty.end()).size(), 20u);
  EXPECT_THAT(twenty, IsSupersetOf(related));
  EXPECT_THAT(twenty, IsSupersetOf({"Text 107.", "Text 108."}));
}

TEST(DocumentQuestionTest, MoreThanThereAreAreRepeated) {
  const std::vector<std::string> documents = DocumentsOf(DocumentQuestionPrompt(Set(), 0, 1, 90));
  std::map<std::string, int> counts;
  for (const std::string& document : documents) ++counts[document];
  EXPECT_EQ(counts.size(), 40u);
  for (const auto& [document, count] : counts) {
    EXPECT_GE(count, 2);
    EXPECT_LE(count, 3);
  }
}

TEST(DocumentQuestionTest, ADocumentStandsAnywhere) {
  const QuestionSet set = Set();
  std::vector<int> places(10);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const std::vector<std::string> documents =
        DocumentsOf(DocumentQuestionPrompt(set, 0, seed, 10));
    ++places[std::find(documents.begin(), documents.end(), "Text 107.") - documents.begin()];
  }
  for (const int count : places) EXPECT_NEAR(count, 200, 67);  // five deviations
}

TEST(DocumentQuestionTest, AnyOfTheAnswersIsRight) {
  const TaskPrompt prompt = DocumentQuestionPrompt(Set(), 0, 1, 3);
  EXPECT_EQ(prompt.answer_prefix, " Answer:");
  EXPECT_EQ(prompt.answer, " that one");
  EXPECT_THAT(prompt.references, ElementsAre("that one", "that"));
  EXPECT_EQ(prompt.metric, TaskMetric::kAnyReference);
}

}  // namespace
}  // namespace kvp

#include "llm/tasks/question_set.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::vector<std::string> Texts(const QuestionSet& set, const std::vector<size_t>& documents) {
  std::vector<std::string> texts;
  for (const size_t document : documents) texts.push_back(set.documents.at(document));
  return texts;
}

TEST(QuestionSetTest, SquadsAnswerableQuestionsComeWithTheirParagraph) {
  ASSERT_OK_AND_ASSIGN(const QuestionSet set, ReadQuestionSet("llm/tasks/testdata/squad.json"));
  EXPECT_EQ(set.format, QuestionSet::Format::kSquad);
  ASSERT_EQ(set.documents.size(), 4u);
  EXPECT_TRUE(std::is_sorted(set.documents.begin(), set.documents.end()));
  ASSERT_EQ(set.questions.size(), 3u);
  EXPECT_EQ(set.questions[0].text, "Who built the old lighthouse?");
  EXPECT_THAT(set.questions[0].answers, ElementsAre("Anna Keller", "Keller"));
  EXPECT_THAT(Texts(set, set.questions[0].documents),
              ElementsAre(StartsWith("The old lighthouse was built by Anna Keller")));
  EXPECT_THAT(Texts(set, set.questions[0].related),
              UnorderedElementsAre(StartsWith("The lamp burned"), StartsWith("In winter")));
  EXPECT_EQ(set.questions[2].text, "How many hives did the village keep?");
  EXPECT_THAT(set.questions[2].related, IsEmpty());
}

TEST(QuestionSetTest, HotpotQasDocumentsAreTitleAndSentences) {
  ASSERT_OK_AND_ASSIGN(const QuestionSet set, ReadQuestionSet("llm/tasks/testdata/hotpotqa.json"));
  EXPECT_EQ(set.format, QuestionSet::Format::kHotpotQa);
  EXPECT_EQ(set.documents.size(), 4u);  // Tall Harbor is in both questions
  ASSERT_EQ(set.questions.size(), 2u);
  EXPECT_THAT(set.questions[0].answers, ElementsAre("Orla valley"));
  EXPECT_THAT(
      Texts(set, set.questions[0].documents),
      ElementsAre("Ida Brandt\nIda Brandt was a botanist born in Melk Cross. She described twelve "
                  "species of moss.",
                  "Melk Cross\nMelk Cross is a town of weavers. It lies in the Orla valley.",
                  "Tall Harbor\nTall Harbor is a port. Its cranes are painted red."));
}

TEST(QuestionSetTest, AMalformedFileIsNamedWithFieldAndValue) {
  const std::string path = testing::TempDir() + "/questions.json";
  const auto expect = [&path](const std::string& json, const std::string& message) {
    ASSERT_OK(WriteFileAtomically(path, {json}));
    EXPECT_THAT(ReadQuestionSet(path),
                StatusIs(kInvalid, AllOf(HasSubstr(path), HasSubstr(message))));
  };
  expect("{", "not valid JSON");
  const std::string nested = std::string(200000, '[') + std::string(200000, ']');
  expect(nested, "nested too deeply");
  expect(absl::StrCat("{\"data\": ", nested, "}"), "nested too deeply");
  expect("7", "is a JSON number");
  expect("{\"version\": 1}", "data is missing");
  expect("{\"data\": [{\"paragraphs\": 3}]}", "data[0].paragraphs is 3");
  expect(
      "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"question\": \"q\", "
      "\"answers\": [{\"text\": 5}]}]}]}]}",
      "data[0].paragraphs[0].qas[0].answers[0].text is 5");
  expect(
      "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"question\": \"q\", "
      "\"answers\": []}]}]}]}",
      "data[0].paragraphs[0].qas[0].answers is []");
  expect(
      "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"is_impossible\": "
      "true}]}]}]}",
      "no question");
  expect("[]", "no question");
  expect("[5]", "[0] is a JSON number");
  expect("[{\"question\": \"q\", \"answer\": \"a\", \"context\": []}]", "[0].context is []");
  expect("[{\"question\": \"q\", \"answer\": \"a\", \"context\": [[\"title\", \"text\"]]}]",
         "[0].context is [[\"title\",\"text\"]]");
  expect("[{\"question\": \"q\", \"context\": []}]", "[0].answer is missing");
  EXPECT_THAT(ReadQuestionSet("none.json"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.json")));
}

}  // namespace
}  // namespace kvp

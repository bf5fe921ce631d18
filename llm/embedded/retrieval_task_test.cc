#include "llm/embedded/retrieval_task.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// As many tokens as there are words and marks between spaces.
size_t CountSpaces(absl::string_view text) {
  size_t spaces = 0;
  for (char c : text) spaces += c == ' ';
  return spaces;
}

// A lower-case word for a number, letters only.
std::string Word(int number) {
  std::string word = "w";
  for (int i = 0; i < 3; ++i, number /= 26) word += static_cast<char>('a' + number % 26);
  return word;
}

// `paragraphs` lines of ten sentences of eight words, drawn from 2,000 words.
std::string Text(int paragraphs) {
  SplitMix64 random(7);
  std::string text;
  for (int p = 0; p < paragraphs; ++p) {
    for (int s = 0; s < 10; ++s) {
      absl::StrAppend(&text, s == 0 ? "" : " ", "It");
      for (int w = 0; w < 7; ++w) absl::StrAppend(&text, " ", Word(random.Below(2000)));
      absl::StrAppend(&text, ".");
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

RetrievalTaskGenerator Generator() {
  auto generator = RetrievalTaskGenerator::Create(Text(200), CountSpaces);
  EXPECT_OK(generator);
  return *std::move(generator);
}

// Key and value of every " ; key value ." of a context.
std::vector<std::pair<std::string, std::string>> Needles(const std::string& context) {
  std::vector<std::pair<std::string, std::string>> needles;
  const std::vector<std::string> words = absl::StrSplit(context, ' ');
  for (size_t i = 0; i + 3 < words.size(); ++i) {
    if (words[i] == ";" && words[i + 3] == ".") needles.emplace_back(words[i + 1], words[i + 2]);
  }
  return needles;
}

TEST(SplitSentencesTest, EndsAtFullStopsOutsideAbbreviations) {
  EXPECT_THAT(SplitSentences("Mr. Elton went. \"Oh! do stay,\" said Mrs. Weston.\" And"),
              ElementsAre(" Mr. Elton went.", " \"Oh!", " do stay,\" said Mrs. Weston.\"", " And"));
}

TEST(RetrievalTaskTest, EveryQuestionHasOneAnswerInTheContext) {
  const RetrievalTaskGenerator generator = Generator();
  for (uint64_t seed = 0; seed < 20; ++seed) {
    ASSERT_OK_AND_ASSIGN(const RetrievalTask task, generator.Generate(RetrievalOptions(), seed));
    const auto needles = Needles(task.context);
    ASSERT_EQ(needles.size(), 28u);
    std::set<std::string> words;
    for (const auto& [key, value] : needles) {
      words.insert(key);
      words.insert(value);
    }
    EXPECT_EQ(words.size(), 56u);
    // Neither keys nor values occur among the filler.
    size_t occurrences = 0;
    for (absl::string_view word : absl::StrSplit(task.context, absl::ByAnyChar(" ."))) {
      occurrences += words.count(std::string(word));
    }
    EXPECT_EQ(occurrences, 56u);
    ASSERT_EQ(task.questions.size(), 8u);
    std::set<std::string> asked;
    for (const RetrievalTask::Question& question : task.questions) {
      const std::string key = question.question.substr(3);
      asked.insert(key);
      EXPECT_EQ(question.question, " ? " + key);
      EXPECT_THAT(needles, testing::Contains(std::make_pair(key, question.answer.substr(1))));
    }
    EXPECT_EQ(asked.size(), 8u);
  }
}

TEST(RetrievalTaskTest, TheContextHasTheTokensAskedFor) {
  const RetrievalTaskGenerator generator = Generator();
  for (int tokens : {112, 300, 960}) {
    RetrievalOptions options;
    options.context_tokens = tokens;
    ASSERT_OK_AND_ASSIGN(const RetrievalTask task, generator.Generate(options, 3));
    EXPECT_EQ(CountSpaces(task.context), static_cast<size_t>(tokens));
  }
}

TEST(RetrievalTaskTest, TheSeedDecides) {
  const RetrievalTaskGenerator generator = Generator();
  EXPECT_EQ(generator.Generate(RetrievalOptions(), 1)->FullText(),
            generator.Generate(RetrievalOptions(), 1)->FullText());
  EXPECT_NE(generator.Generate(RetrievalOptions(), 1)->FullText(),
            generator.Generate(RetrievalOptions(), 2)->FullText());
}

TEST(RetrievalTaskTest, WordsAreLowerCaseAndOfOneToken) {
  // Words with a 'q' count as two tokens.
  const auto count = [](absl::string_view text) {
    size_t tokens = CountSpaces(text);
    for (char c : text) tokens += c == 'q';
    return tokens;
  };
  ASSERT_OK_AND_ASSIGN(const RetrievalTaskGenerator generator,
                       RetrievalTaskGenerator::Create(Text(200), count));
  ASSERT_FALSE(generator.words().empty());
  for (const std::string& word : generator.words()) {
    EXPECT_EQ(word.find('q'), std::string::npos);
    EXPECT_EQ(word[0], 'w');
  }
}

TEST(RetrievalTaskTest, ImpossibleOptionsAreRefused) {
  const RetrievalTaskGenerator generator = Generator();
  RetrievalOptions options;
  options.questions = 29;
  EXPECT_THAT(generator.Generate(options, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("29 questions")));
  options = RetrievalOptions();
  options.context_tokens = 100;
  EXPECT_THAT(generator.Generate(options, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("100 tokens")));
  options = RetrievalOptions();
  options.context_tokens = 1000000;
  EXPECT_THAT(generator.Generate(options, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no run of")));
}

TEST(RetrievalTaskTest, ATextWithoutWordsIsRefused) {
  EXPECT_THAT(RetrievalTaskGenerator::Create("", CountSpaces),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 sentences")));
}

}  // namespace
}  // namespace kvp

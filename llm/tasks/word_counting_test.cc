#include "llm/tasks/word_counting.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

using ::testing::MatchesRegex;

using Counts = std::map<std::string, int>;

// How often each word stands in a list "1. word 2. word …", whose numbers are checked.
Counts CountNumbered(const std::string& list) {
  const std::vector<std::string> pieces = absl::StrSplit(list, ' ');
  EXPECT_EQ(pieces.size() % 2, 0u);
  Counts counts;
  for (size_t i = 0; i + 1 < pieces.size(); i += 2) {
    EXPECT_EQ(pieces[i], absl::StrCat(i / 2 + 1, "."));
    ++counts[pieces[i + 1]];
  }
  return counts;
}

// The words that stand `times` times.
std::set<std::string> With(int times, const Counts& counts) {
  std::set<std::string> words;
  for (const auto& [word, count] : counts) {
    if (count == times) words.insert(word);
  }
  return words;
}

std::set<std::string> SetOf(const std::vector<std::string>& words) {
  return std::set<std::string>(words.begin(), words.end());
}

TEST(CommonWordsTest, CountsAreThePublishedOnesInTheListAndInTheExample) {
  struct Case {
    int64_t sequence;
    int common, other, example_common, example_other, example_words;
  };
  for (const Case& c : {Case{4095, 6, 1, 3, 1, 20}, Case{4096, 30, 3, 10, 3, 40}}) {
    for (const int64_t size : {11, 300, 5000}) {
      const TaskPrompt prompt = CommonWordsPrompt(CommonWordsTaskFor(c.sequence), 5, size);
      // Two lines a template, the example's with its answer.
      const std::vector<std::string> lines = absl::StrSplit(prompt.input, '\n');
      ASSERT_EQ(lines.size(), 6u);
      EXPECT_EQ(lines[0],
                "Below is a numbered list of words. In these words, some appear more often than "
                "others. Memorize the ones that appear most often.");
      EXPECT_EQ(lines[3], lines[0]);
      EXPECT_EQ(lines[5], "Question: What are the 10 most common words in the above list?");

      const Counts counts = CountNumbered(lines[4]);
      EXPECT_EQ(counts.size(), static_cast<size_t>(size));
      EXPECT_EQ(With(c.common, counts), SetOf(prompt.references));
      EXPECT_EQ(With(c.other, counts).size(), static_cast<size_t>(size - 10));
      EXPECT_EQ(prompt.references.size(), 10u);

      const Counts example = CountNumbered(lines[1]);
      EXPECT_EQ(example.size(), static_cast<size_t>(c.example_words));
      EXPECT_EQ(With(c.example_other, example).size(), static_cast<size_t>(c.example_words - 10));
      const std::string solved =
          "Question: What are the 10 most common words in the above list? Answer: The top 10 words "
          "that appear most often in the list are: ";
      ASSERT_TRUE(absl::StartsWith(lines[2], solved));
      std::set<std::string> answered;
      for (const auto& [word, count] : CountNumbered(lines[2].substr(solved.size()))) {
        answered.insert(word);
      }
      EXPECT_EQ(answered, With(c.example_common, example));
    }
  }
}

TEST(CommonWordsTest, TheAnswerIsNumberedAsInTheExample) {
  const TaskPrompt prompt = CommonWordsPrompt(CommonWordsTaskFor(4096), 5, 100);
  EXPECT_EQ(prompt.answer_prefix,
            " Answer: The top 10 words that appear most often in the list are:");
  EXPECT_THAT(prompt.answer, MatchesRegex(" 1\\. [a-z]+ 2\\. .* 10\\. [a-z]+"));
  EXPECT_EQ(With(1, CountNumbered(prompt.answer.substr(1))), SetOf(prompt.references));
}

TEST(CommonWordsTest, CommonWordsAreSpreadOverTheList) {
  const TaskPrompt prompt = CommonWordsPrompt(CommonWordsTaskFor(4096), 5, 110);
  const std::vector<std::string> lines = absl::StrSplit(prompt.input, '\n');
  const std::vector<std::string> pieces = absl::StrSplit(lines[4], ' ');
  ASSERT_EQ(pieces.size(), 1200u);
  const std::set<std::string> common = SetOf(prompt.references);
  int in_first_half = 0;
  for (size_t i = 1; i < 600; i += 2) in_first_half += common.count(pieces[i]);
  // Of 300 common and 300 other words half are expected there, with a deviation of 6.1.
  EXPECT_NEAR(in_first_half, 150, 31);
}

TEST(FrequentWordsTest, FrequenciesFollowZipfsLawAndTheTopThreeAreTheAnswer) {
  for (const int64_t size : {kMinFrequentWordsSize, int64_t{1500}, int64_t{40000}}) {
    for (const int64_t vocabulary : {5, 80, 2600}) {
      const TaskPrompt prompt = FrequentWordsPrompt(vocabulary, 3, size);
      const std::string before =
          "Read the following coded text and track the frequency of each coded word. Find the "
          "three most frequently appeared coded words. ";
      const std::string after =
          "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the "
          "three most frequently appeared words in the above coded text?";
      ASSERT_TRUE(absl::StartsWith(prompt.input, before));
      ASSERT_TRUE(absl::EndsWith(prompt.input, after));
      const std::string text =
          prompt.input.substr(before.size(), prompt.input.size() - before.size() - after.size());
      Counts counts;
      for (const absl::string_view word : absl::StrSplit(text, ' ')) ++counts[std::string(word)];
      std::vector<std::pair<int, std::string>> ranking;
      for (const auto& [word, count] : counts) ranking.emplace_back(-count, word);
      std::sort(ranking.begin(), ranking.end());
      ASSERT_GE(ranking.size(), 5u);
      EXPECT_EQ(ranking[0].second, "...");
      for (int rank = 2; rank <= 4; ++rank) {
        EXPECT_EQ(ranking[rank - 1].second, prompt.references[rank - 2]);
        EXPECT_THAT(ranking[rank - 1].second, MatchesRegex("[a-z]{6}"));
        // Strictly more frequent than the next: there is one right answer.
        EXPECT_LT(ranking[rank - 1].first, ranking[rank].first);
      }
      // zeta(2), summed up.
      double zeta = 0;
      for (int k = 10000000; k > 0; --k) zeta += 1.0 / k / k;
      for (size_t rank = 1; rank <= std::min<size_t>(20, ranking.size()); ++rank) {
        const double expected = static_cast<double>(size) / (zeta * rank * rank);
        EXPECT_LE(-ranking[rank - 1].first, expected + 1e-2);
        EXPECT_GE(-ranking[rank - 1].first, expected - 1 - 1e-2);
      }
    }
  }
}

TEST(FrequentWordsTest, TheAnswerGoesByFrequency) {
  const TaskPrompt prompt = FrequentWordsPrompt(80, 3, 1500);
  ASSERT_EQ(prompt.references.size(), 3u);
  EXPECT_EQ(prompt.answer, " " + absl::StrJoin(prompt.references, ", "));
  EXPECT_EQ(prompt.answer_prefix,
            " Answer: According to the coded text above, the three most frequently appeared words "
            "are:");
}

}  // namespace
}  // namespace kvp

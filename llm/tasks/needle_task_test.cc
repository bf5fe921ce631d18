#include "llm/tasks/needle_task.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

using Haystack = NeedleTask::Haystack;
using Kind = NeedleTask::Kind;

constexpr char kLine[] =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

// Sentences that tell their number: "Sentence s0 has five words."
Essay NumberedEssay(int sentences) {
  std::string text;
  for (int i = 0; i < sentences; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", "Sentence s", i, " has five words.");
  }
  return *Essay::Create(text);
}

// Key and value of every needle of a text, in order, read with a regular expression.
std::vector<std::pair<std::string, std::string>> NeedlesOf(const std::string& text) {
  const std::regex needle("One of the special magic [a-z]+ for ([^ ]+) is: ([^ ]+)\\.");
  std::vector<std::pair<std::string, std::string>> needles;
  for (std::sregex_iterator match(text.begin(), text.end(), needle), end; match != end; ++match) {
    needles.emplace_back((*match)[1], (*match)[2]);
  }
  return needles;
}

TEST(NeedleTaskTest, OneNeedleIsAskedForInTheSingular) {
  const TaskPrompt prompt = NeedlePrompt(NeedleTask(), nullptr, 7, 20);
  const auto needles = NeedlesOf(prompt.input);
  ASSERT_EQ(needles.size(), 1u);
  const auto& [key, value] = needles[0];
  EXPECT_THAT(key, MatchesRegex("[a-z]+-[a-z]+"));
  EXPECT_THAT(value, MatchesRegex("[1-9][0-9]{6}"));
  // The whole text, as it is published, with the needle's line taken out.
  const std::string line =
      absl::StrCat("One of the special magic numbers for ", key, " is: ", value, ".\n");
  std::string rest = prompt.input;
  const size_t place = rest.find(line);
  ASSERT_NE(place, std::string::npos);
  rest.erase(place, line.size());
  EXPECT_EQ(rest,
            absl::StrCat("A special magic number is hidden within the following text. Make "
                         "sure to memorize it. I will quiz you about the number afterwards.\n",
                         absl::StrJoin(std::vector<std::string>(20, kLine), "\n"),
                         "\nWhat is the special magic number for ", key,
                         " mentioned in the provided text?"));
  EXPECT_EQ(prompt.answer_prefix, absl::StrCat(" The special magic number for ", key,
                                               " mentioned in the provided text is"));
  EXPECT_EQ(prompt.answer, " " + value);
  EXPECT_THAT(prompt.references, ElementsAre(value));
  EXPECT_EQ(prompt.max_new_tokens, 128);
}

TEST(NeedleTaskTest, AllValuesOfAKeyAreAskedFor) {
  NeedleTask task;
  task.values_per_key = 4;
  const TaskPrompt prompt = NeedlePrompt(task, nullptr, 3, 30);
  const auto needles = NeedlesOf(prompt.input);
  ASSERT_EQ(needles.size(), 4u);
  std::set<std::string> keys, values;
  for (const auto& [key, value] : needles) {
    keys.insert(key);
    values.insert(value);
  }
  ASSERT_EQ(keys.size(), 1u);
  EXPECT_EQ(std::set<std::string>(prompt.references.begin(), prompt.references.end()), values);
  EXPECT_EQ(prompt.answer, " " + absl::StrJoin(prompt.references, ", "));
  EXPECT_THAT(prompt.input, StartsWith("Some special magic numbers are hidden within"));
  EXPECT_THAT(prompt.input,
              EndsWith(absl::StrCat("What are all the special magic numbers for ", *keys.begin(),
                                    " mentioned in the provided text?")));
  EXPECT_THAT(prompt.answer_prefix, EndsWith("mentioned in the provided text are"));
}

TEST(NeedleTaskTest, FourKeysAreEnumeratedAndAnsweredInTheirOrder) {
  NeedleTask task;
  task.keys = 4;
  task.queries = 4;
  const TaskPrompt prompt = NeedlePrompt(task, nullptr, 3, 30);
  std::map<std::string, std::string> value_of;
  for (const auto& [key, value] : NeedlesOf(prompt.input)) value_of[key] = value;
  ASSERT_EQ(value_of.size(), 4u);
  std::smatch match;
  ASSERT_TRUE(std::regex_search(
      prompt.answer_prefix, match,
      std::regex("^ The special magic numbers for (\\S+), (\\S+), (\\S+), and (\\S+) mentioned")));
  ASSERT_EQ(prompt.references.size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(prompt.references[i], value_of[match[i + 1]]);
}

TEST(NeedleTaskTest, AmongFourKeysOneIsAskedForAndEachAsOften) {
  NeedleTask task;
  task.keys = 4;
  std::map<size_t, int> asked_place;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const TaskPrompt prompt = NeedlePrompt(task, nullptr, seed, 10);
    const auto needles = NeedlesOf(prompt.input);
    ASSERT_EQ(needles.size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      if (needles[i].second == prompt.references[0]) ++asked_place[i];
    }
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(asked_place[i], 100, 45);  // five deviations
}

TEST(NeedleTaskTest, AHaystackOfNeedlesHasOneWithTheKeyAndItsValueOnce) {
  for (const Kind kind : {Kind::kWords, Kind::kUuids}) {
    NeedleTask task;
    task.haystack = Haystack::kNeedles;
    task.key = kind;
    task.value = kind == Kind::kWords ? Kind::kNumbers : Kind::kUuids;
    const TaskPrompt prompt = NeedlePrompt(task, nullptr, 11, 3000);
    std::map<std::string, int> keys, values;
    for (const auto& [key, value] : NeedlesOf(prompt.input)) {
      ++keys[key];
      ++values[value];
    }
    EXPECT_EQ(keys.size(), 3001u);  // all different
    ASSERT_EQ(prompt.references.size(), 1u);
    EXPECT_EQ(values[prompt.references[0]], 1);
    if (kind == Kind::kUuids) {
      const auto uuid =
          MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
      EXPECT_THAT(prompt.references[0], uuid);
      EXPECT_THAT(keys.begin()->first, uuid);
      EXPECT_THAT(prompt.input, HasSubstr("What is the special magic uuid for "));
    }
  }
}

TEST(NeedleTaskTest, InNoiseEveryLineIsAsLikelyAPlace) {
  std::vector<int> counts(10);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const TaskPrompt prompt = NeedlePrompt(NeedleTask(), nullptr, seed, 10);
    const std::vector<std::string> lines = absl::StrSplit(prompt.input, '\n');
    for (size_t i = 1; i < lines.size(); ++i) {
      if (absl::StartsWith(lines[i], "One of")) ++counts[i - 1];
    }
  }
  for (const int count : counts) EXPECT_NEAR(count, 200, 67);  // five deviations
}

TEST(NeedleTaskTest, InAnEssayFortyDepthsAreAsLikely) {
  const Essay essay = NumberedEssay(1000);
  NeedleTask task;
  task.haystack = Haystack::kEssay;
  std::map<size_t, int> counts;  // by sentences before the needle
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    // 100 sentences of five words.
    const TaskPrompt prompt = NeedlePrompt(task, &essay, seed, 500);
    const std::vector<std::string> sentences =
        absl::StrSplit(absl::string_view(prompt.input).substr(0, prompt.input.find(" is: ")), ". ");
    // The template's three before the context, the needle's own after.
    ++counts[static_cast<size_t>(std::count_if(
        sentences.begin(), sentences.end(),
        [](absl::string_view sentence) { return absl::StrContains(sentence, "Sentence s"); }))];
  }
  // round(100 j / 39) of 100 sentences, j = 0 … 39.
  std::set<size_t> depths;
  for (int j = 0; j < 40; ++j) depths.insert(static_cast<size_t>(std::lround(100.0 * j / 39)));
  EXPECT_EQ(depths.size(), 40u);
  ASSERT_EQ(counts.size(), 40u);
  for (const auto& [depth, count] : counts) {
    EXPECT_EQ(depths.count(depth), 1u) << depth;
    EXPECT_NEAR(count, 100, 50) << depth;  // five deviations
  }
}

TEST(NeedleTaskTest, AnEssayIsARunOfItsSentencesWithTheNeedlesBetween) {
  const Essay essay = NumberedEssay(50);
  NeedleTask task;
  task.haystack = Haystack::kEssay;
  task.keys = 4;
  std::set<std::string> firsts;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const TaskPrompt prompt = NeedlePrompt(task, &essay, seed, 203);
    ASSERT_EQ(NeedlesOf(prompt.input).size(), 4u);
    std::vector<int> numbers;
    const std::regex sentence("Sentence s([0-9]+)");
    for (std::sregex_iterator match(prompt.input.begin(), prompt.input.end(), sentence), end;
         match != end; ++match) {
      numbers.push_back(std::stoi((*match)[1]));
    }
    ASSERT_EQ(numbers.size(), 41u);  // 40 sentences and three words
    for (size_t i = 1; i < numbers.size(); ++i) {
      EXPECT_EQ(numbers[i], (numbers[i - 1] + 1) % 50);
    }
    firsts.insert(absl::StrCat(numbers[0]));
  }
  EXPECT_GE(firsts.size(), 10u);  // they begin at different places
}

TEST(NeedleTaskTest, MoreHaystackChangesNeitherQuestionNorAnswer) {
  const Essay essay = NumberedEssay(50);
  for (const Haystack haystack : {Haystack::kNoise, Haystack::kEssay, Haystack::kNeedles}) {
    NeedleTask task;
    task.haystack = haystack;
    const TaskPrompt small = NeedlePrompt(task, &essay, 5, 50);
    const TaskPrompt large = NeedlePrompt(task, &essay, 5, 500);
    EXPECT_EQ(small.answer_prefix, large.answer_prefix);
    EXPECT_EQ(small.answer, large.answer);
    EXPECT_LT(small.input.size(), large.input.size());
  }
}

}  // namespace
}  // namespace kvp

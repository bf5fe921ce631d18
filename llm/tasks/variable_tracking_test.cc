#include "llm/tasks/variable_tracking.h"

#include <algorithm>
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

namespace kvp {
namespace {

using ::testing::MatchesRegex;

// Runs the assignments of a text from its first line to its last, as a program would; returns the
// variables that have `value` in the order of their assignments. Fails on one that isn't set yet.
std::vector<std::string> VariablesWith(const std::string& value, const std::string& text) {
  std::map<std::string, std::string> values;
  std::vector<std::string> with_value;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, "VAR ")) continue;
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    EXPECT_EQ(words[2], "=");
    if (words.size() == 4) {
      values[words[1]] = words[3];
    } else {
      EXPECT_EQ(words.size(), 5u);
      EXPECT_EQ(values.count(words[4]), 1u) << line;
      values[words[1]] = values[words[4]];
    }
    if (values[words[1]] == value) with_value.push_back(words[1]);
  }
  return with_value;
}

TEST(VariableTrackingTest, TheAnswerIsWhatTheAssignmentsMake) {
  std::set<std::string> all_values;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const TaskPrompt prompt = VariableTrackingPrompt(6, seed, 25);
    std::smatch question;
    ASSERT_TRUE(std::regex_search(
        prompt.input, question,
        std::regex("Question: Find all variables that are assigned the value ([1-9][0-9]{4}) in "
                   "the text above\\.$")));
    const std::string value = question[1];
    all_values.insert(value);
    EXPECT_EQ(VariablesWith(value, prompt.input), prompt.references);
    ASSERT_EQ(prompt.references.size(), 5u);
    for (const std::string& name : prompt.references) {
      EXPECT_THAT(name, MatchesRegex("[A-Z]{5}"));
    }
    EXPECT_EQ(prompt.answer, " " + absl::StrJoin(prompt.references, " "));
    EXPECT_EQ(prompt.answer_prefix,
              absl::StrCat(" Answer: According to the chain(s) of variable assignment in the text "
                           "above, 5 variables are assigned the value ",
                           value, ", they are: "));
  }
  EXPECT_GE(all_values.size(), 98u);
}

TEST(VariableTrackingTest, ASolvedExampleStandsBefore) {
  const TaskPrompt prompt = VariableTrackingPrompt(6, 42, 25);
  const std::string start =
      "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n";
  ASSERT_TRUE(absl::StartsWith(prompt.input, start));
  const size_t second = prompt.input.find(start, 1);
  ASSERT_NE(second, std::string::npos);
  const std::string example = prompt.input.substr(0, second);
  const std::string question = prompt.input.substr(second);
  std::smatch answer;
  ASSERT_TRUE(std::regex_search(
      example, answer,
      std::regex("assigned the value ([0-9]+), they are:  ((?:[A-Z]{3} ?){5})\n\n$")));
  EXPECT_EQ(absl::StrJoin(VariablesWith(answer[1], example), " "), answer[2].str());
  // Six lines of noise and five assignments; twenty-five and five.
  const auto lines = [](const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(lines(example), 2 + 11 + 2);
  EXPECT_EQ(lines(question), 2 + 30);
  // The example's value is another one.
  EXPECT_FALSE(absl::StrContains(question, answer[1].str()));
}

TEST(VariableTrackingTest, AssignmentsStandInOrderAtRandomPlaces) {
  std::vector<int> first_half(5);
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const TaskPrompt prompt = VariableTrackingPrompt(5, seed, 100);
    const std::vector<std::string> lines =
        absl::StrSplit(prompt.input.substr(prompt.input.rfind("Memorize and track")), '\n');
    int next = 0;
    for (size_t i = 0; i < lines.size(); ++i) {
      if (!absl::StartsWith(lines[i], "VAR ")) continue;
      ASSERT_LT(next, 5);
      EXPECT_TRUE(absl::StartsWith(lines[i], "VAR " + prompt.references[next]));
      if (i < 2 + 53) ++first_half[next];
      ++next;
    }
    ASSERT_EQ(next, 5);
  }
  // Of five ordered uniform places, the median is in the first half every second time, the first
  // 31 times in 32.
  EXPECT_NEAR(first_half[2], 250, 60);
  EXPECT_NEAR(first_half[0], 500 * 31 / 32, 20);
  EXPECT_NEAR(first_half[4], 500 / 32, 20);
}

TEST(VariableTrackingTest, MoreNoiseChangesNeitherQuestionNorAnswer) {
  const TaskPrompt small = VariableTrackingPrompt(5, 9, 10);
  const TaskPrompt large = VariableTrackingPrompt(5, 9, 1000);
  EXPECT_EQ(small.answer_prefix, large.answer_prefix);
  EXPECT_EQ(small.answer, large.answer);
}

}  // namespace
}  // namespace kvp

#include "llm/tasks/word_lists.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

void ExpectWords(const std::vector<std::string>& words) {
  for (size_t i = 0; i < words.size(); ++i) {
    EXPECT_GE(words[i].size(), 2u);
    // Two words that ran together would be longer.
    EXPECT_LE(words[i].size(), 10u) << words[i];
    EXPECT_TRUE(std::all_of(words[i].begin(), words[i].end(), absl::ascii_islower)) << words[i];
    if (i > 0) EXPECT_LT(words[i - 1], words[i]);
  }
}

TEST(WordListsTest, AreSortedDifferentLowerCaseWords) {
  ExpectWords(Adjectives());
  ExpectWords(Nouns());
  ExpectWords(PlainWords());
  ExpectWords(SyllableWords());
}

TEST(WordListsTest, AreLongEnoughForAMillionTokens) {
  // A line of a needle haystack has 20 tokens or more; a word of a list comes three times, with its
  // number, at four tokens or more.
  EXPECT_GE(Adjectives().size() * Nouns().size(), 200000u);
  EXPECT_GE(SyllableWords().size(), 80000u);
  EXPECT_GE(PlainWords().size(), 900u);
}

}  // namespace
}  // namespace kvp

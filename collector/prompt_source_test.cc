#include "collector/prompt_source.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collector/test_tokenizer.h"
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

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int64_t kVocab = 100000;

// Sentences of distinct words: "Aab word0 word1 … ."
std::string Text() {
  std::string text;
  for (int i = 0; i < 600; ++i) {
    std::string word;
    for (int rest = i, digit = 0; digit < 4; ++digit, rest /= 5) word += "aeiou"[rest % 5];
    absl::StrAppend(&text, "The ", word, "x was there.", i % 10 == 9 ? "\n" : " ");
  }
  return text;
}

TEST(PromptSourceTest, AFileGivesItsPromptsTokenised) {
  const std::string path = testing::TempDir() + "/dialogues.v2.jsonl";
  ASSERT_OK(WriteFileAtomically(
      path, {"{\"prompt\": \"a b\"}\n\n{\"prompt\": \"c\", \"answer\": \" d e\"}\n"}));
  const WordTokenizer tokenizer(kVocab, /*with_begin=*/true);
  ASSERT_OK_AND_ASSIGN(const auto source, FilePrompts(path, &tokenizer));
  EXPECT_EQ(source->task(), "dialogues.v2");
  ASSERT_EQ(source->size(), 2);
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt first, source->Get(0));
  EXPECT_THAT(first.prompt, ElementsAre(0, 'a', ' ' + 'b'));
  EXPECT_THAT(first.continuation, IsEmpty());
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt second, source->Get(1));
  EXPECT_EQ(second.origin, path + ":3");
  EXPECT_THAT(second.prompt, ElementsAre(0, 'c'));
  // A continuation has no begin-of-sequence token.
  EXPECT_THAT(second.continuation, ElementsAre(' ' + 'd', ' ' + 'e'));
}

TEST(PromptSourceTest, ARetrievalTasksContextIsThePromptAndItsQuestionsFollow) {
  const WordTokenizer tokenizer(kVocab);
  GeneratedPromptOptions options;
  options.count = 5;
  options.context_tokens = 80;
  options.needles = 6;
  options.questions = 3;
  ASSERT_OK_AND_ASSIGN(const auto source, RetrievalPrompts(Text(), "text", options, &tokenizer));
  EXPECT_EQ(source->task(), "retrieval");
  EXPECT_EQ(source->size(), 5);
  std::set<std::vector<int32_t>> prompts;
  for (int64_t i = 0; i < 5; ++i) {
    ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(i));
    EXPECT_LE(prompt.prompt.size(), 80);
    EXPECT_GE(prompt.prompt.size(), 70);
    // " ?", key, value.
    ASSERT_EQ(prompt.continuation.size(), 9);
    for (int question = 0; question < 3; ++question) {
      EXPECT_EQ(prompt.continuation[3 * question], ' ' + '?');
      const std::vector<int32_t> needle = {' ' + ';', prompt.continuation[3 * question + 1],
                                           prompt.continuation[3 * question + 2], ' ' + '.'};
      EXPECT_NE(
          std::search(prompt.prompt.begin(), prompt.prompt.end(), needle.begin(), needle.end()),
          prompt.prompt.end());
    }
    ASSERT_OK_AND_ASSIGN(const TokenizedPrompt again, source->Get(i));
    EXPECT_EQ(again.prompt, prompt.prompt);
    EXPECT_EQ(again.continuation, prompt.continuation);
    prompts.insert(prompt.prompt);
  }
  EXPECT_EQ(prompts.size(), 5);
}

TEST(PromptSourceTest, NeighbouringSeedsShareNoPrompt) {
  const WordTokenizer tokenizer(kVocab);
  GeneratedPromptOptions options;
  options.count = 10;
  options.context_tokens = 80;
  options.needles = 6;
  std::set<std::vector<int32_t>> prompts;
  for (options.seed = 1; options.seed <= 3; ++options.seed) {
    options.questions = 1;
    ASSERT_OK_AND_ASSIGN(const auto source, RetrievalPrompts(Text(), "text", options, &tokenizer));
    for (int64_t i = 0; i < 10; ++i) {
      ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(i));
      prompts.insert(prompt.prompt);
    }
  }
  EXPECT_EQ(prompts.size(), 30);
}

TEST(PromptSourceTest, TextWindowsFollowTheTextAndSpreadOverIt) {
  const WordTokenizer tokenizer(kVocab, /*with_begin=*/true);
  std::string text;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&text, i == 0 ? "" : " ", std::string(1 + i, 'a'));
  const std::vector<int32_t> all = tokenizer.Encode(text);
  GeneratedPromptOptions options;
  options.count = 8;
  options.context_tokens = 30;
  options.continuation_tokens = 10;
  ASSERT_OK_AND_ASSIGN(const auto source, TextPrompts(text, "text", options, &tokenizer));
  EXPECT_EQ(source->task(), "text");
  // 29 tokens of the text beside the first, and 10.
  const int64_t starts = 1000 - 39 + 1;
  for (int64_t i = 0; i < 8; ++i) {
    ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(i));
    ASSERT_EQ(prompt.prompt.size(), 30);
    ASSERT_EQ(prompt.continuation.size(), 10);
    EXPECT_EQ(prompt.prompt[0], 0);
    std::vector<int32_t> window(prompt.prompt.begin() + 1, prompt.prompt.end());
    window.insert(window.end(), prompt.continuation.begin(), prompt.continuation.end());
    const auto found = std::search(all.begin(), all.end(), window.begin(), window.end());
    ASSERT_NE(found, all.end()) << i;
    const int64_t start = found - all.begin();
    EXPECT_GE(start, i * starts / 8);
    EXPECT_LT(start, (i + 1) * starts / 8);
  }
}

TEST(PromptSourceTest, WhatCannotBeGeneratedIsNamed) {
  const WordTokenizer tokenizer(kVocab);
  GeneratedPromptOptions options;
  options.count = 1;
  options.context_tokens = 20;
  options.continuation_tokens = 5;
  EXPECT_THAT(TextPrompts("too short", "emma.txt", options, &tokenizer),
              StatusIs(kInvalid, AllOf(HasSubstr("emma.txt"), HasSubstr("2 tokens"))));
  EXPECT_THAT(RetrievalPrompts("No words.", "emma.txt", options, &tokenizer),
              StatusIs(kInvalid, HasSubstr("emma.txt: retrieval text")));
  EXPECT_THAT(RetrievalPrompts(Text(), "emma.txt", options, &tokenizer),
              StatusIs(kInvalid, HasSubstr("28 needles")));
  options.questions = 0;
  EXPECT_THAT(RetrievalPrompts(Text(), "emma.txt", options, &tokenizer),
              StatusIs(kInvalid, HasSubstr("questions=0")));
  options.count = 0;
  EXPECT_THAT(TextPrompts(Text(), "emma.txt", options, &tokenizer),
              StatusIs(kInvalid, HasSubstr("count=0")));
}

}  // namespace
}  // namespace kvp

#include "collector/datasets/task_prompts.h"

#include <cstdint>
#include <memory>
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

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr char kBoolQ[] = "llm/tasks/testdata/boolq.jsonl";

TEST(TaskPromptsTest, RulersTasksTakeTurnsAndTheAnswerIsForced) {
  const WordTokenizer tokenizer(1 << 20, /*with_begin=*/true);
  RulerOptions options;
  options.tasks = {"niah_single_2", "fwe"};
  options.context_tokens = 700;
  options.text = *ReadFile("llm/embedded/text/train.txt");
  ASSERT_OK_AND_ASSIGN(const auto source, RulerPrompts(options, 5, &tokenizer));
  EXPECT_EQ(source->size(), 5);
  EXPECT_EQ(source->task(), "ruler");
  for (int64_t i = 0; i < 5; ++i) {
    ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(i));
    EXPECT_EQ(prompt.task, i % 2 == 0 ? "niah_single_2" : "fwe");
    EXPECT_LE(prompt.prompt.size(), 700u);
    EXPECT_GE(prompt.prompt.size(), 665u);
    EXPECT_EQ(prompt.prompt[0], 0);
    // A number; three words. In the needle, the number has a full stop at its end.
    ASSERT_EQ(prompt.continuation.size(), i % 2 == 0 ? 1u : 3u);
    if (i % 2 == 0) {
      EXPECT_THAT(prompt.prompt, testing::Contains(prompt.continuation[0] + '.'));
    } else {
      EXPECT_THAT(prompt.prompt, testing::Contains(prompt.continuation[2]));
    }
  }
}

TEST(TaskPromptsTest, ATaskThatDoesNotFitIsFoundBeforeAnyWork) {
  const WordTokenizer tokenizer(1 << 20);
  RulerOptions options;
  options.tasks = {"fwe", "vt"};
  options.context_tokens = 200;
  EXPECT_THAT(RulerPrompts(options, 100, &tokenizer),
              StatusIs(kInvalid, HasSubstr("task vt at context_tokens=200")));
}

TEST(TaskPromptsTest, AFilesPromptsComeInItsOrder) {
  const WordTokenizer tokenizer(1 << 20);
  TaskFileOptions options;
  options.max_positions = 1000;
  ASSERT_OK_AND_ASSIGN(const auto source, TaskFilePrompts("boolq", kBoolQ, options, &tokenizer));
  EXPECT_EQ(source->task(), "boolq");
  ASSERT_EQ(source->size(), 2);
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(1));
  EXPECT_EQ(prompt.origin, absl::StrCat(kBoolQ, ":2"));
  EXPECT_EQ(prompt.continuation, tokenizer.Encode(" yes"));
  options.count = 1;
  ASSERT_OK_AND_ASSIGN(const auto one, TaskFilePrompts("boolq", kBoolQ, options, &tokenizer));
  EXPECT_EQ(one->size(), 1);
}

TEST(TaskPromptsTest, ALongPromptLosesItsMiddle) {
  const WordTokenizer tokenizer(1 << 20);
  TaskFileOptions options;
  options.max_positions = 1000;
  ASSERT_OK_AND_ASSIGN(const auto whole, TaskFilePrompts("boolq", kBoolQ, options, &tokenizer));
  options.context_tokens = 9;
  ASSERT_OK_AND_ASSIGN(const auto cut, TaskFilePrompts("boolq", kBoolQ, options, &tokenizer));
  // A context that leaves one token to the answer.
  options.context_tokens = 0;
  options.max_positions = 10;
  ASSERT_OK_AND_ASSIGN(const auto small, TaskFilePrompts("boolq", kBoolQ, options, &tokenizer));
  const std::vector<int32_t> all = whole->Get(0)->prompt;
  std::vector<int32_t> expected(all.begin(), all.begin() + 5);
  expected.insert(expected.end(), all.end() - 4, all.end());
  EXPECT_EQ(cut->Get(0)->prompt, expected);
  EXPECT_EQ(small->Get(0)->prompt, expected);
  options.max_positions = 2;
  ASSERT_OK_AND_ASSIGN(const auto none, TaskFilePrompts("boolq", kBoolQ, options, &tokenizer));
  EXPECT_THAT(none->Get(0), StatusIs(kInvalid, HasSubstr("boolq.jsonl:1: an answer of 1 tokens")));
}

TEST(TaskPromptsTest, EveryBenchmarkReadsItsFile) {
  const WordTokenizer tokenizer(1 << 20);
  TaskFileOptions options;
  options.max_positions = 1000;
  EXPECT_THAT(TaskFileBenchmarks(),
              ElementsAre("boolq", "arc_challenge", "passage_retrieval", "gov_report"));
  for (const std::string& name : TaskFileBenchmarks()) {
    const std::string path = absl::StrCat("llm/tasks/testdata/", name,
                                          name == "passage_retrieval" ? "_en" : "", ".jsonl");
    ASSERT_OK_AND_ASSIGN(const auto source, TaskFilePrompts(name, path, options, &tokenizer));
    ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(0));
    EXPECT_EQ(prompt.task, name);
    EXPECT_FALSE(prompt.continuation.empty());
  }
}

TEST(TaskPromptsTest, WhatCannotBeReadIsNamed) {
  const WordTokenizer tokenizer(1 << 20);
  TaskFileOptions options;
  EXPECT_THAT(TaskFilePrompts("mmlu", kBoolQ, options, &tokenizer),
              StatusIs(kInvalid, AllOf(HasSubstr("\"mmlu\""), HasSubstr("boolq, "))));
  options.count = 3;
  EXPECT_THAT(TaskFilePrompts("boolq", kBoolQ, options, &tokenizer),
              StatusIs(kInvalid, HasSubstr("2 prompts, count=3")));
  EXPECT_THAT(TaskFilePrompts("gov_report", kBoolQ, options, &tokenizer),
              StatusIs(kInvalid, HasSubstr("boolq.jsonl:1: dataset is missing")));
}

}  // namespace
}  // namespace kvp

#include "collector/prompt_flags.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/flags/reflection.h"
#include "collector/test_tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/command_line.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The problem of a command line.
std::string ProblemOf(const std::vector<std::string>& arguments) {
  absl::FlagSaver saver;
  EXPECT_OK(SetFlags(arguments));
  return PromptUsageProblem();
}

// The source of a command line without problems.
absl::StatusOr<std::unique_ptr<PromptSource>> SourceOf(const std::vector<std::string>& arguments,
                                                       const Tokenizer* tokenizer,
                                                       int64_t max_positions = 1024) {
  absl::FlagSaver saver;
  EXPECT_OK(SetFlags(arguments));
  EXPECT_EQ(PromptUsageProblem(), "");
  return PromptsFromFlags(testing::TempDir(), max_positions, tokenizer);
}

TEST(PromptFlagsTest, WhatIsMissingIsNamed) {
  EXPECT_THAT(ProblemOf({}), HasSubstr("--prompts and --generate"));
  EXPECT_THAT(ProblemOf({"--prompts=p", "--generate=text"}), HasSubstr("are both there"));
  EXPECT_THAT(ProblemOf({"--generate=poems"}),
              AllOf(HasSubstr("--generate: value \"poems\""), HasSubstr("ruler")));
  EXPECT_THAT(ProblemOf({"--generate=retrieval", "--count=1"}), HasSubstr("--text is missing"));
  EXPECT_THAT(ProblemOf({"--generate=text", "--text=t"}), HasSubstr("--count: value \"0\""));
  EXPECT_THAT(ProblemOf({"--generate=oasst2"}), HasSubstr("--data is missing"));
  EXPECT_THAT(ProblemOf({"--generate=boolq"}), HasSubstr("--data is missing"));
  EXPECT_EQ(ProblemOf({"--generate=boolq", "--data=d"}), "");
  EXPECT_EQ(ProblemOf({"--prompts=p"}), "");
}

TEST(PromptFlagsTest, RulersTasksAreCheckedWithTheirFiles) {
  EXPECT_THAT(ProblemOf({"--generate=ruler", "--tasks=vt,haystack", "--count=1"}),
              HasSubstr("--tasks: task \"haystack\""));
  EXPECT_THAT(ProblemOf({"--generate=ruler", "--count=1"}),
              HasSubstr("--text is missing: task niah_single_2"));
  EXPECT_THAT(ProblemOf({"--generate=ruler", "--text=t", "--count=1"}),
              HasSubstr("--qa is missing: task qa_1"));
  EXPECT_EQ(ProblemOf({"--generate=ruler", "--tasks=vt,cwe", "--count=1"}), "");
}

TEST(PromptFlagsTest, NumbersOutOfRangeAreUsage) {
  const auto problem = [](const std::string& flag) {
    return ProblemOf({"--generate=retrieval", "--text=t", "--count=1", flag});
  };
  EXPECT_THAT(problem("--needles=0"), HasSubstr("--needles: value \"0\""));
  EXPECT_THAT(problem("--needles=3000000000"), HasSubstr("--needles: value \"3000000000\""));
  EXPECT_THAT(problem("--questions=0"), HasSubstr("--questions: value \"0\""));
  EXPECT_THAT(problem("--questions=29"),
              HasSubstr("--questions: value \"29\": it must be at most"));
  EXPECT_THAT(problem("--context-tokens=-1"), HasSubstr("--context-tokens: value \"-1\""));
  EXPECT_THAT(ProblemOf({"--generate=text", "--text=t", "--count=1", "--continuation-tokens=-5"}),
              HasSubstr("--continuation-tokens: value \"-5\""));
  EXPECT_THAT(problem("--count=-1"), HasSubstr("--count: value \"-1\""));
  EXPECT_EQ(problem("--needles=8"), "");
}

TEST(PromptFlagsTest, AFlagThatTheKindOfPromptsHasNoUseForIsRefused) {
  for (const auto& [command, flag] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--prompts=p", "--tasks=vt"}, "--tasks"},
           {{"--prompts=p", "--context-tokens=9"}, "--context-tokens"},
           {{"--generate=retrieval", "--text=t", "--count=1", "--continuation-tokens=9"},
            "--continuation-tokens"},
           {{"--generate=text", "--text=t", "--count=1", "--needles=9"}, "--needles"},
           {{"--generate=ruler", "--tasks=vt", "--count=1", "--data=d"}, "--data"},
           {{"--generate=oasst2", "--data=d", "--text=t"}, "--text"},
           {{"--generate=boolq", "--data=d", "--qa=q"}, "--qa"}}) {
    EXPECT_THAT(ProblemOf(command),
                HasSubstr("flag " + flag + " doesn't apply to " +
                          (command[0] == "--prompts=p" ? "--prompts" : "--generate ")));
  }
}

TEST(PromptFlagsTest, EverythingThatCanBeGeneratedIs) {
  const WordTokenizer tokenizer(1 << 20);
  const std::string text = "--text=llm/embedded/text/held_out.txt";
  const std::string oasst2 = "--data=collector/datasets/testdata/oasst2.trees.jsonl.gz";
  const std::vector<std::vector<std::string>> commands = {
      {"--generate=text", text, "--count=2"},
      {"--generate=ruler", text, "--count=13", "--context-tokens=900",
       "--qa=llm/tasks/testdata/hotpotqa.json,llm/tasks/testdata/squad.json"},
      {"--generate=oasst2", oasst2, "--context-tokens=20", "--continuation-tokens=5"},
      {"--generate=boolq", "--data=llm/tasks/testdata/boolq.jsonl"},
      {"--generate=arc_challenge", "--data=llm/tasks/testdata/arc_challenge.jsonl"},
      {"--generate=passage_retrieval", "--data=llm/tasks/testdata/passage_retrieval_en.jsonl"},
      {"--generate=gov_report", "--data=llm/tasks/testdata/gov_report.jsonl"},
  };
  for (const std::vector<std::string>& command : commands) {
    const auto source = SourceOf(command, &tokenizer);
    ASSERT_THAT(source, IsOk()) << command[0];
    EXPECT_EQ("--generate=" + (*source)->task(), command[0]);
    for (int64_t i = 0; i < (*source)->size(); ++i) {
      ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, (*source)->Get(i));
      EXPECT_FALSE(prompt.prompt.empty());
      EXPECT_FALSE(prompt.continuation.empty());
      EXPECT_LE(prompt.prompt.size() + prompt.continuation.size(), 1024u);
    }
  }
}

TEST(PromptFlagsTest, AContextThatTheModelDoesNotHaveIsUsage) {
  const WordTokenizer tokenizer(1 << 20);
  EXPECT_THAT(SourceOf({"--generate=boolq", "--data=d", "--context-tokens=1024"}, &tokenizer),
              StatusIs(absl::StatusCode::kOutOfRange,
                       AllOf(HasSubstr("flag --context-tokens: value \"1024\""),
                             HasSubstr("less than the model's context, 1024"))));
}

TEST(PromptFlagsTest, ContextAndContinuationFitTheModelTogether) {
  const WordTokenizer tokenizer(1 << 20);
  const std::vector<std::string> text = {"--generate=text", "--text=llm/embedded/text/held_out.txt",
                                         "--count=1", "--context-tokens=1000"};
  std::vector<std::string> too_long = text;
  too_long.push_back("--continuation-tokens=25");
  EXPECT_THAT(SourceOf(too_long, &tokenizer),
              StatusIs(absl::StatusCode::kOutOfRange,
                       AllOf(HasSubstr("flag --continuation-tokens: value \"25\""),
                             HasSubstr("context of 1000 tokens leaves of the model's, 24"))));
  ASSERT_OK_AND_ASSIGN(const auto source, SourceOf(text, &tokenizer));
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(0));
  EXPECT_EQ(prompt.prompt.size(), 1000u);
  EXPECT_EQ(prompt.continuation.size(), 24u);
}

TEST(PromptFlagsTest, AContextBeyondTheDefaultWindowHasAContinuationToo) {
  const WordTokenizer tokenizer(1 << 20);
  ASSERT_OK_AND_ASSIGN(const auto source,
                       SourceOf({"--generate=text", "--text=llm/embedded/text/held_out.txt",
                                 "--count=1", "--context-tokens=5000"},
                                &tokenizer, /*max_positions=*/20000));
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(0));
  EXPECT_EQ(prompt.prompt.size(), 5000u);
  EXPECT_EQ(prompt.continuation.size(), 1024u);
}

TEST(PromptFlagsTest, RulerLeavesItsLongestAnswerRoomInTheModelsContext) {
  const WordTokenizer tokenizer(1 << 20);
  ASSERT_OK_AND_ASSIGN(
      const auto source,
      SourceOf({"--generate=ruler", "--tasks=niah_multikey_2", "--count=1"}, &tokenizer));
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(0));
  EXPECT_LE(prompt.prompt.size(), 1024u - 128);
  EXPECT_GE(prompt.prompt.size(), (1024u - 128) * 95 / 100);
}

}  // namespace
}  // namespace kvp

#include "llm/tasks/ruler.h"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tokenizer.h"
#include "util/file.h"
#include "util/sha256.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// A stand-in for a tokenizer that is the same everywhere: words and punctuation by four bytes.
size_t CountPieces(absl::string_view text) {
  size_t tokens = 1;  // begin of sequence
  size_t run = 0;
  for (const char c : text) {
    if (c == ' ' || c == '\n') {
      tokens += (run + 3) / 4;
      run = 0;
    }
    ++run;
  }
  return tokens + (run + 3) / 4;
}

RulerOptions Options(int64_t context_tokens) {
  RulerOptions options;
  options.tasks = RulerTasks();
  options.context_tokens = context_tokens;
  options.seed = 1;
  options.text = *ReadFile("llm/embedded/text/train.txt");
  options.question_sets = {*ReadQuestionSet("llm/tasks/testdata/squad.json"),
                           *ReadQuestionSet("llm/tasks/testdata/hotpotqa.json")};
  return options;
}

TEST(RulerTest, HasThePublishedTasksAndAnswerLengths) {
  EXPECT_EQ(RulerTasks(), std::vector<std::string>(
                              {"niah_single_1", "niah_single_2", "niah_single_3", "niah_multikey_1",
                               "niah_multikey_2", "niah_multikey_3", "niah_multivalue",
                               "niah_multiquery", "vt", "cwe", "fwe", "qa_1", "qa_2"}));
  EXPECT_EQ(RulerAnswerTokens({"vt"}), 30);
  EXPECT_EQ(RulerAnswerTokens({"qa_1", "fwe"}), 50);
  EXPECT_EQ(RulerAnswerTokens(RulerTasks()), 128);
}

TEST(RulerTest, EveryTaskFillsItsContextUnderARealTokenizer) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Tokenizer::Load("llm/embedded/model/tokenizer.json"));
  for (const int64_t tokens : {1900, 4096, 20000}) {
    ASSERT_OK_AND_ASSIGN(
        const auto generator,
        RulerGenerator::Create(Options(tokens), [&tokenizer](absl::string_view text) {
          return tokenizer->EncodeSequence(text).size();
        }));
    for (int64_t i = 0; i < 13; ++i) {
      ASSERT_OK_AND_ASSIGN(const TaskPrompt prompt, generator->Generate(i));
      EXPECT_EQ(prompt.task, RulerTasks()[i]);
      const int64_t length = tokenizer->EncodeSequence(prompt.PromptText()).size();
      EXPECT_LE(length, tokens) << prompt.task;
      EXPECT_GE(length, tokens * 95 / 100) << prompt.task;
      // The answer is there, and it fits what RULER lets be generated.
      for (const std::string& reference : prompt.references) {
        if (prompt.task != "qa_2") EXPECT_THAT(prompt.input, HasSubstr(reference));
        EXPECT_THAT(prompt.answer, AnyOf(HasSubstr(reference), HasSubstr(prompt.references[0])));
      }
      EXPECT_EQ(prompt.answer[0], ' ');
    }
  }
}

TEST(RulerTest, ReachesAHundredAndThirtyOneThousandTokens) {
  ASSERT_OK_AND_ASSIGN(const auto generator, RulerGenerator::Create(Options(131072), CountPieces));
  for (int64_t i = 0; i < 13; ++i) {
    ASSERT_OK_AND_ASSIGN(const TaskPrompt prompt, generator->Generate(i));
    EXPECT_LE(CountPieces(prompt.PromptText()), 131072u) << prompt.task;
    EXPECT_GE(CountPieces(prompt.PromptText()), 131072u * 99 / 100) << prompt.task;
  }
}

TEST(RulerTest, SeedsAndIndicesGiveDifferentPromptsAndTheSameOnesAgain) {
  RulerOptions options = Options(1500);
  std::set<std::string> texts;
  for (const uint64_t seed : {1, 2}) {
    options.seed = seed;
    ASSERT_OK_AND_ASSIGN(const auto first, RulerGenerator::Create(options, CountPieces));
    ASSERT_OK_AND_ASSIGN(const auto second, RulerGenerator::Create(options, CountPieces));
    for (int64_t i = 0; i < 39; ++i) {
      ASSERT_OK_AND_ASSIGN(const TaskPrompt prompt, first->Generate(i));
      ASSERT_OK_AND_ASSIGN(const TaskPrompt again, second->Generate(i));
      EXPECT_EQ(prompt.PromptText(), again.PromptText());
      EXPECT_EQ(prompt.answer, again.answer);
      texts.insert(prompt.PromptText());
    }
  }
  EXPECT_EQ(texts.size(), 78u);
}

TEST(RulerTest, QuestionsAllComeBeforeOneComesAgain) {
  RulerOptions options = Options(400);
  options.tasks = {"qa_1"};
  ASSERT_OK_AND_ASSIGN(const auto generator, RulerGenerator::Create(options, CountPieces));
  std::set<std::string> answers;
  for (int64_t i = 0; i < 3; ++i) answers.insert(generator->Generate(i)->answer);
  EXPECT_EQ(answers, std::set<std::string>({" Anna Keller", " green", " forty-two"}));
}

// A change of this hash changes every trace collected from RULER prompts, and every number compared
// across machines.
TEST(RulerTest, PromptsAreTheSameOnEveryMachine) {
  ASSERT_OK_AND_ASSIGN(const auto generator, RulerGenerator::Create(Options(2000), CountPieces));
  std::string all;
  for (int64_t i = 0; i < 26; ++i) {
    ASSERT_OK_AND_ASSIGN(const TaskPrompt prompt, generator->Generate(i));
    absl::StrAppend(&all, prompt.PromptText(), prompt.answer, "\n");
  }
  EXPECT_EQ(Sha256Hex(all), "3cae7e70f5f9c30da9c84ea21090184a3652bce6a3244d9b073feabfc348e38d");
}

TEST(RulerTest, WhatIsMissingOrTooShortIsNamed) {
  const auto create = [](const RulerOptions& options) {
    return RulerGenerator::Create(options, CountPieces).status();
  };
  RulerOptions options;
  options.context_tokens = 1000;
  EXPECT_THAT(create(options), StatusIs(kInvalid, HasSubstr("tasks")));
  options.tasks = {"niah_single_9"};
  EXPECT_THAT(create(options), StatusIs(kInvalid, AllOf(HasSubstr("\"niah_single_9\""),
                                                        HasSubstr("niah_single_1, "))));
  options.tasks = {"niah_single_2"};
  EXPECT_THAT(create(options), StatusIs(kInvalid, HasSubstr("niah_single_2 needs a text")));
  options.tasks = {"qa_2"};
  options.question_sets = {*ReadQuestionSet("llm/tasks/testdata/squad.json")};
  EXPECT_THAT(create(options), StatusIs(kInvalid, HasSubstr("qa_2 needs the questions of Hotpot")));
  options.tasks = {"vt"};
  options.context_tokens = 0;
  EXPECT_THAT(create(options), StatusIs(kInvalid, HasSubstr("context_tokens=0")));
  options.context_tokens = 50;
  ASSERT_OK_AND_ASSIGN(const auto generator, RulerGenerator::Create(options, CountPieces));
  EXPECT_THAT(generator->Generate(0),
              StatusIs(kInvalid, AllOf(HasSubstr("task vt at context_tokens=50"),
                                       HasSubstr("needs at least"))));
}

}  // namespace
}  // namespace kvp

#include "collector/datasets/oasst2.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collector/datasets/dialogue.h"
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
constexpr char kFixture[] = "collector/datasets/testdata/oasst2.trees.jsonl.gz";

// "user: …" of every turn.
std::vector<std::string> Lines(const Conversation& conversation) {
  std::vector<std::string> lines;
  for (const DialogueTurn& turn : conversation.turns) {
    lines.push_back(absl::StrCat(turn.role, ": ", turn.content));
  }
  return lines;
}

TEST(Oasst2Test, ATreesConversationFollowsTheBestReplies) {
  ASSERT_OK_AND_ASSIGN(const std::vector<Conversation> conversations, ReadOasst2(kFixture));
  // Not: one that isn't ready, one without answer, one whose answer is deleted.
  ASSERT_EQ(conversations.size(), 3u);
  // Rank 0 though it is second, and no user's word at the end.
  EXPECT_THAT(Lines(conversations[0]),
              ElementsAre("user: How do bees find their way home?",
                          "assistant: They learn landmarks and use the sun as a compass.",
                          "user: Even under clouds?",
                          "assistant: Yes: they see how the light of the sky is polarised."));
  // The first that passed its review, where none is ranked.
  EXPECT_THAT(Lines(conversations[1]), ElementsAre("user: Name three woods for a boat.",
                                                   "assistant: Oak, larch and cedar."));
  EXPECT_THAT(Lines(conversations[2]),
              ElementsAre("user: Wie heißt „bridge“ auf Deutsch?", "assistant: Brücke."));
  EXPECT_EQ(conversations[2].origin, absl::StrCat(kFixture, ":5"));
}

TEST(Oasst2Test, AMalformedTreeIsNamedWithFieldAndValue) {
  const std::string path = testing::TempDir() + "/trees.jsonl";
  const auto expect = [&path](const std::string& prompt, const std::string& message) {
    ASSERT_OK(WriteFileAtomically(
        path, {"{\"tree_state\": \"ready_for_export\", \"prompt\": ", prompt, "}\n"}));
    EXPECT_THAT(ReadOasst2(path), StatusIs(kInvalid, HasSubstr(path + ":1: " + message)));
  };
  const std::string user = "{\"role\": \"prompter\", \"text\": \"t\", \"replies\": ";
  expect("5", "prompt is 5");
  expect("{\"role\": \"assistant\"}", "prompt.role is \"assistant\"");
  expect("{\"role\": \"prompter\", \"text\": \"\"}", "prompt.text is \"\"");
  expect(user + "{}}", "prompt.replies is {}");
  expect(user + "[{\"rank\": \"first\"}]}", "prompt.replies[0].rank is \"first\"");
  expect(user + "[{\"rank\": 1}, {\"role\": \"prompter\", \"rank\": 0}]}",
         "prompt.replies[1].role is \"prompter\"");
  expect(user + "[{\"role\": \"assistant\", \"deleted\": 1}]}", "prompt.replies[0].deleted is 1");
  ASSERT_OK(WriteFileAtomically(path, {"{\"prompt\": {}}"}));
  EXPECT_THAT(ReadOasst2(path), StatusIs(kInvalid, HasSubstr(path + ":1: tree_state is missing")));
  ASSERT_OK(WriteFileAtomically(path, {"{\"tree_state\": \"growing\"}"}));
  EXPECT_THAT(ReadOasst2(path), StatusIs(kInvalid, HasSubstr(path + ": no tree")));
}

// A file of conversations of 6 to 14 plain words; each word tells its conversation.
std::string ManyTrees(int trees) {
  std::string text;
  for (int i = 0; i < trees; ++i) {
    std::string answer;
    for (int word = 0; word < 1 + i % 9; ++word) absl::StrAppend(&answer, " a", 1000 + i);
    absl::StrAppend(&text, "{\"tree_state\": \"ready_for_export\", \"prompt\": {\"role\": ",
                    "\"prompter\", \"text\": \"q", 1000 + i,
                    " why\", \"replies\": [{\"role\": ", "\"assistant\", \"text\": \"x", answer,
                    "\"}]}}\n");
  }
  const std::string path = absl::StrCat(testing::TempDir(), "/many.jsonl");
  EXPECT_OK(WriteFileAtomically(path, {text}));
  return path;
}

TEST(Oasst2Test, ThreadsAreWholeWindowsOfDifferentConversations) {
  const std::string path = ManyTrees(100);
  const WordTokenizer tokenizer(1 << 20);
  // Tokens of the plain rendering, written down again.
  std::vector<std::string> renderings;
  ASSERT_OK_AND_ASSIGN(const auto conversations, ReadOasst2(path));
  for (const Conversation& conversation : conversations) {
    renderings.push_back(absl::StrCat("User: ", conversation.turns[0].content,
                                      "\n\nAssistant: ", conversation.turns[1].content, "\n\n"));
  }
  // What the threads were made of.
  std::map<std::string, int> used;
  const EncodeDialogue encode =
      [&](const std::vector<DialogueTurn>& turns) -> absl::StatusOr<std::vector<int32_t>> {
    if (turns.size() > 2) {
      for (size_t i = 0; i < turns.size(); i += 2) ++used[turns[i].content];
    }
    return PlainDialogue(&tokenizer)(turns);
  };
  ThreadOptions options;
  options.context_tokens = 60;
  options.continuation_tokens = 20;
  options.seed = 3;
  ASSERT_OK_AND_ASSIGN(const auto source, Oasst2Prompts(path, options, encode));
  EXPECT_EQ(source->task(), "oasst2");
  // About ten words a conversation, some dropped at each thread's end.
  EXPECT_GE(source->size(), 8);
  EXPECT_LE(source->size(), 12);
  std::set<std::vector<int32_t>> prompts;
  for (int64_t i = 0; i < source->size(); ++i) {
    ASSERT_OK_AND_ASSIGN(const TokenizedPrompt prompt, source->Get(i));
    EXPECT_LE(prompt.prompt.size(), 60u);
    // Two line breaks join two conversations into one word of this tokenizer.
    EXPECT_GE(prompt.prompt.size(), 45u);
    EXPECT_EQ(prompt.continuation.size(), 20u);
    prompts.insert(prompt.prompt);
  }
  EXPECT_EQ(prompts.size(), static_cast<size_t>(source->size()));
  EXPECT_GE(used.size(), 60u);
  for (const auto& [question, times] : used) EXPECT_EQ(times, 1) << question;
}

TEST(Oasst2Test, TheSeedDecidesTheOrderAndTheCountHowMany) {
  const std::string path = ManyTrees(100);
  const WordTokenizer tokenizer(1 << 20);
  ThreadOptions options;
  options.context_tokens = 60;
  options.continuation_tokens = 20;
  options.count = 2;
  std::set<std::vector<int32_t>> prompts;
  for (options.seed = 0; options.seed < 5; ++options.seed) {
    ASSERT_OK_AND_ASSIGN(const auto source,
                         Oasst2Prompts(path, options, PlainDialogue(&tokenizer)));
    ASSERT_OK_AND_ASSIGN(const auto again, Oasst2Prompts(path, options, PlainDialogue(&tokenizer)));
    ASSERT_EQ(source->size(), 2);
    for (int64_t i = 0; i < 2; ++i) {
      EXPECT_EQ(source->Get(i)->prompt, again->Get(i)->prompt);
      prompts.insert(source->Get(i)->prompt);
    }
  }
  EXPECT_EQ(prompts.size(), 10u);
}

TEST(Oasst2Test, TooFewConversationsAreCounted) {
  const WordTokenizer tokenizer(1 << 20);
  ThreadOptions options;
  options.context_tokens = 1000;
  options.continuation_tokens = 100;
  EXPECT_THAT(Oasst2Prompts(kFixture, options, PlainDialogue(&tokenizer)),
              StatusIs(kInvalid, AllOf(HasSubstr(kFixture), HasSubstr("3 conversations"),
                                       HasSubstr("0 threads of 1100 tokens, 1 are asked for"))));
  options.continuation_tokens = 0;
  EXPECT_THAT(Oasst2Prompts(kFixture, options, PlainDialogue(&tokenizer)),
              StatusIs(kInvalid, HasSubstr("continuation_tokens=0")));
}

TEST(DialogueTest, PlainTurnsSayWhoSpeaks) {
  const WordTokenizer tokenizer(1 << 20, /*with_begin=*/true);
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> tokens,
                       PlainDialogue (&tokenizer)({{"user", "Why?"}, {"assistant", "Because."}}));
  EXPECT_EQ(tokens, tokenizer.EncodeSequence("User: Why?\n\nAssistant: Because.\n\n"));
}

}  // namespace
}  // namespace kvp

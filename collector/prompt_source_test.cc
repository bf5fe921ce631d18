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
#include "llm/tokenizer.h"
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
constexpr int64_t kMaxModelLen = 1000;

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
  ASSERT_OK_AND_ASSIGN(const auto source, FilePrompts(path, tokenizer, kMaxModelLen));
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

TEST(PromptSourceTest, APromptThatIsTooLongIsFoundAtOnceByFileAndLine) {
  const std::string path = testing::TempDir() + "/long.jsonl";
  const WordTokenizer tokenizer(kVocab, /*with_begin=*/true);
  ASSERT_OK(WriteFileAtomically(
      path, {"{\"prompt\": \"a b c\"}\n{\"prompt\": \"a b c\", \"answer\": \" d e\"}\n"}));
  EXPECT_OK(FilePrompts(path, tokenizer, 6));
  EXPECT_THAT(FilePrompts(path, tokenizer, 5),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(path + ":2: 4 prompt and 2 answer tokens don't fit")));
  // Of what the model is to write, one token has to fit.
  EXPECT_THAT(FilePrompts(path, tokenizer, 4),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(path + ":1: 4 prompt and 0 answer"),
                             HasSubstr("--max-model-len=4"))));
}

// Normalizes as Llama 2's tokenizer does. Ids: 0 "▁", 1 "a", 2 "b", 3 "▁a", 4 "▁b".
constexpr char kPrependingTokenizer[] = R"({
  "normalizer": {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
  "decoder": {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
  "model": {"type": "BPE", "vocab": {"▁": 0, "a": 1, "b": 2, "▁a": 3, "▁b": 4},
            "merges": ["▁ a", "▁ b"]}})";

TEST(PromptSourceTest, NothingIsPutBeforeAnAnswer) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Tokenizer::Parse(kPrependingTokenizer, "t.json"));
  const std::string path = testing::TempDir() + "/answers.jsonl";
  ASSERT_OK(WriteFileAtomically(path, {R"({"prompt": "a b", "answer": " b a"}
{"prompt": "a", "answer": "ba"})"}));
  ASSERT_OK_AND_ASSIGN(const auto source, FilePrompts(path, *tokenizer, kMaxModelLen));
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt words, source->Get(0));
  EXPECT_THAT(words.prompt, ElementsAre(3, 4));
  EXPECT_THAT(words.continuation, ElementsAre(4, 3));
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt letters, source->Get(1));
  EXPECT_THAT(letters.prompt, ElementsAre(3));
  EXPECT_THAT(letters.continuation, ElementsAre(2, 1));
}

// A template in the manner of Mistral's, with white space where words are to be told apart.
constexpr char kChatTemplate[] =
    R"({"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ bos_token }})"
    R"({% for m in messages %}{% if m.role == 'user' %} U {{ m.content }} A)"
    R"({% elif m.role == 'assistant' %} {{ m.content }} {{ eos_token }})"
    R"({% else %}{{ raise_exception('no role ' + m.role) }}{% endif %}{% endfor %}"})";

class ConversationTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/chat_model";
    ASSERT_OK(MakeDirectories(directory_));
    ASSERT_OK(WriteFileAtomically(directory_ + "/tokenizer_config.json", {kChatTemplate}));
  }

  absl::StatusOr<std::unique_ptr<PromptSource>> Source(const std::string& lines,
                                                       const std::string& directory) {
    const std::string path = testing::TempDir() + "/chats.jsonl";
    EXPECT_OK(WriteFileAtomically(path, {lines}));
    return FilePrompts(path, tokenizer_, kMaxModelLen, directory);
  }

  const WordTokenizer tokenizer_{kVocab, /*with_begin=*/true};
  std::string directory_;
};

TEST_F(ConversationTest, GoesThroughTheModelsTemplate) {
  ASSERT_OK_AND_ASSIGN(const auto source,
                       Source(R"({"messages": [{"role": "user", "content": "a b"}]}
{"messages": [{"role": "user", "content": "a"}], "answer": " c d"}
{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c d"}]}
{"prompt": "a"})",
                              directory_));
  ASSERT_EQ(source->size(), 4);
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt open, source->Get(0));
  // The template has put the begin-of-sequence token.
  EXPECT_EQ(open.prompt, tokenizer_.Encode("<s> U a b A"));
  EXPECT_THAT(open.continuation, IsEmpty());
  for (int i : {1, 2}) {
    ASSERT_OK_AND_ASSIGN(const TokenizedPrompt forced, source->Get(i));
    EXPECT_EQ(forced.prompt, tokenizer_.Encode("<s> U a A"));
    EXPECT_EQ(forced.continuation, tokenizer_.Encode(i == 1 ? " c d" : " c d </s>"));
  }
  ASSERT_OK_AND_ASSIGN(const TokenizedPrompt plain, source->Get(3));
  EXPECT_EQ(plain.prompt, tokenizer_.EncodeSequence("a"));
}

TEST_F(ConversationTest, WhatTheTemplateRefusesIsNamedBeforeAnyWork) {
  const std::string good = R"({"messages": [{"role": "user", "content": "a"}]})";
  EXPECT_THAT(Source(good + R"(
{"messages": [{"role": "tool", "content": "a"}]})",
                     directory_),
              StatusIs(kInvalid, AllOf(HasSubstr("chats.jsonl:2: "), HasSubstr("no role tool"))));
  EXPECT_THAT(Source(good, "/nowhere"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("chats.jsonl:1: "), HasSubstr("plain prompts"))));
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

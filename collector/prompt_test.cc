#include "collector/prompt.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::StartsWith;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(PromptTest, APromptMayHaveAnAnswer) {
  ASSERT_OK_AND_ASSIGN(const Prompt with,
                       ParsePrompt(R"({"prompt": "1 + 1 =", "answer": " zwei \u00e4"})", "p", 3));
  EXPECT_EQ(with.text, "1 + 1 =");
  EXPECT_THAT(with.answer, Optional(std::string(" zwei ä")));
  EXPECT_EQ(with.line, 3);
  ASSERT_OK_AND_ASSIGN(const Prompt without, ParsePrompt(R"({"prompt": "x"})", "p", 1));
  EXPECT_EQ(without.answer, std::nullopt);
  ASSERT_OK_AND_ASSIGN(const Prompt null,
                       ParsePrompt(R"({"prompt": "x", "answer": null})", "p", 1));
  EXPECT_EQ(null.answer, std::nullopt);
}

TEST(PromptTest, AMalformedLineIsNamedWithItsFieldAndValue) {
  const auto error = [](const std::string& json) { return ParsePrompt(json, "in.jsonl", 7); };
  EXPECT_THAT(
      error(R"({"prompt": "x")"),
      StatusIs(kInvalid, AllOf(StartsWith("in.jsonl:7: is not valid JSON"), HasSubstr("prompt"))));
  EXPECT_THAT(error("{\"prompt\": \"\xff\"}"), StatusIs(kInvalid, HasSubstr("not valid JSON")));
  EXPECT_THAT(error("[1, 2]"), StatusIs(kInvalid, HasSubstr("[1,2] is no object")));
  EXPECT_THAT(error(R"({"answer": "x"})"),
              StatusIs(kInvalid, HasSubstr("field prompt is missing")));
  EXPECT_THAT(error(R"({"prompt": 12})"), StatusIs(kInvalid, HasSubstr("field prompt is 12")));
  EXPECT_THAT(error(R"({"prompt": ""})"), StatusIs(kInvalid, HasSubstr("field prompt is \"\"")));
  EXPECT_THAT(error(R"({"prompt": "x", "answer": ["y"]})"),
              StatusIs(kInvalid, HasSubstr("field answer is [\"y\"]")));
  EXPECT_THAT(error(R"({"prompt": "x", "anwser": "y"})"),
              StatusIs(kInvalid, HasSubstr("unknown field anwser = \"y\"")));
}

TEST(PromptTest, AConversationIsAPromptToo) {
  ASSERT_OK_AND_ASSIGN(
      const Prompt prompt,
      ParsePrompt(R"({"messages": [{"role": "user", "content": "x"}], "answer": "y"})", "p", 1));
  ASSERT_EQ(prompt.messages.size(), 1);
  EXPECT_EQ(prompt.messages[0].role, "user");
  EXPECT_EQ(prompt.messages[0].content, "x");
  EXPECT_THAT(prompt.answer, Optional(std::string("y")));
}

TEST(PromptTest, AMalformedConversationIsNamedWithItsFieldAndValue) {
  const auto error = [](const std::string& json) { return ParsePrompt(json, "in.jsonl", 7); };
  EXPECT_THAT(error(R"({"messages": "x"})"),
              StatusIs(kInvalid, HasSubstr("in.jsonl:7: field messages is \"x\"")));
  EXPECT_THAT(error(R"({"messages": []})"), StatusIs(kInvalid, HasSubstr("field messages is []")));
  EXPECT_THAT(error(R"({"messages": [{"role": "user"}]})"),
              StatusIs(kInvalid, HasSubstr("field messages[0] is {\"role\":\"user\"}")));
  EXPECT_THAT(error(R"({"messages": [{"role": "user", "content": "x", "name": "y"}]})"),
              StatusIs(kInvalid, HasSubstr("field messages[0] is")));
  EXPECT_THAT(error(R"({"messages": [{"role": "user", "content": ["x"]}]})"),
              StatusIs(kInvalid, HasSubstr("field messages[0].content is [\"x\"]")));
  EXPECT_THAT(error(R"({"messages": [{"role": "user", "content": "x"}], "prompt": "y"})"),
              StatusIs(kInvalid, HasSubstr("field prompt is y")));
  EXPECT_THAT(error(R"({"messages": [{"role": "user", "content": "x"},
                                     {"role": "assistant", "content": "y"}], "answer": "z"})"),
              StatusIs(kInvalid, HasSubstr("field answer is z")));
  EXPECT_THAT(error(R"({"messages": [{"role": "assistant", "content": "y"}]})"),
              StatusIs(kInvalid, HasSubstr("needs a message before it")));
}

TEST(PromptTest, DeepNestingIsRefused) {
  const std::string nested = std::string(200000, '[') + std::string(200000, ']');
  for (const char* field : {"unknown", "prompt", "messages"}) {
    EXPECT_THAT(
        ParsePrompt(absl::StrCat("{\"", field, "\": ", nested, "}"), "in.jsonl", 7),
        StatusIs(kInvalid, AllOf(HasSubstr("in.jsonl:7: is nested too deeply"), HasSubstr(field))));
  }
}

TEST(PromptTest, AMessageShowsWholeCharacters) {
  // "oops " and 18 characters of 3 bytes are 59: the 60th is the first of a character.
  std::string text;
  for (int i = 0; i < 40; ++i) text += "世";
  EXPECT_THAT(ParsePrompt("oops " + text, "in.jsonl", 7),
              StatusIs(kInvalid, EndsWith(": oops " + text.substr(0, 54) + "…")));
}

TEST(PromptTest, AFileIsReadLineByLine) {
  const std::string path = testing::TempDir() + "/prompts.jsonl";
  ASSERT_OK(WriteFileAtomically(path, {"{\"prompt\": \"a\"}\r\n\n  \n{\"prompt\": \"b\"}"}));
  ASSERT_OK_AND_ASSIGN(const auto prompts, ReadPrompts(path));
  ASSERT_EQ(prompts.size(), 2);
  EXPECT_EQ(prompts[0].text, "a");
  EXPECT_EQ(prompts[1].text, "b");
  EXPECT_EQ(prompts[1].line, 4);
}

TEST(PromptTest, AFileThatCannotBeUsedIsNamed) {
  EXPECT_THAT(ReadPrompts("/nowhere/p.jsonl"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/p.jsonl")));
  const std::string path = testing::TempDir() + "/empty.jsonl";
  ASSERT_OK(WriteFileAtomically(path, {"\n"}));
  EXPECT_THAT(ReadPrompts(path), StatusIs(kInvalid, HasSubstr("empty.jsonl: no prompts")));
  ASSERT_OK(WriteFileAtomically(path, {"{\"prompt\": \"a\"}\noops\n"}));
  EXPECT_THAT(ReadPrompts(path), StatusIs(kInvalid, HasSubstr("empty.jsonl:2: is not valid JSON")));
}

}  // namespace
}  // namespace kvp

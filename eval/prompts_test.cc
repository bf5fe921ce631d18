#include "eval/prompts.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using testing::HasSubstr;

// A token a letter run or other character, with its leading space: what words are to the embedded
// model's tokenizer.
class WordTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> Encode(absl::string_view text) const override {
    std::vector<int32_t> ids;
    for (size_t begin = 0; begin < text.size();) {
      size_t end = begin + 1;
      while (end < text.size() && absl::ascii_isalpha(text[end])) ++end;
      ids.push_back(static_cast<int32_t>(
          std::hash<std::string>()(std::string(text.substr(begin, end - begin))) & 0x7FFFFFFF));
      begin = end;
    }
    return ids;
  }
  std::vector<int32_t> EncodeSequence(absl::string_view text) const override {
    return Encode(text);
  }
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const override {
    return absl::UnimplementedError("");
  }
  int64_t vocab_size() const override { return 0x7FFFFFFF; }
};

// Paragraphs of words that differ, in sentences of six.
std::string WordText() {
  std::string text;
  for (int i = 0; i < 1200; ++i) {
    std::string word;
    for (int rest = i + 26 * 26; rest > 0; rest /= 26) {
      word += static_cast<char>('a' + rest % 26);
    }
    text += (i % 6 == 0 ? "" : " ") + word + (i % 6 == 5 ? (i % 60 == 59 ? ".\n" : ". ") : "");
  }
  return text;
}

TEST(PromptsTest, RetrievalPromptsAreSeededAndLeakNothing) {
  const WordTokenizer tokenizer;
  RetrievalOptions options;
  options.needles = 6;
  options.questions = 4;
  options.context_tokens = 120;
  ASSERT_OK_AND_ASSIGN(const auto prompts, RetrievalPrompts(tokenizer, WordText(), options, 3, 7));
  ASSERT_EQ(prompts.size(), 3);
  for (const EvaluationPrompt& prompt : prompts) {
    EXPECT_OK(CheckPrompt(prompt));
    EXPECT_LE(prompt.context.size(), 120);
    ASSERT_EQ(prompt.questions.size(), 4);
    EXPECT_EQ(prompt.Continuation().size(), 4 * (prompt.questions[0].tokens.size() + 1));
    // The answer stands in the context: it can be found there and nowhere else.
    EXPECT_NE(std::find(prompt.context.begin(), prompt.context.end(), prompt.questions[0].answer),
              prompt.context.end());
  }
  EXPECT_NE(prompts[0].context, prompts[1].context);
  ASSERT_OK_AND_ASSIGN(const auto again, RetrievalPrompts(tokenizer, WordText(), options, 3, 7));
  EXPECT_EQ(prompts[2].context, again[2].context);
  ASSERT_OK_AND_ASSIGN(const auto other, RetrievalPrompts(tokenizer, WordText(), options, 3, 8));
  EXPECT_NE(prompts[0].context, other[0].context);
}

TEST(PromptsTest, AnAnswerThatWasSeenIsRefused) {
  EvaluationPrompt prompt;
  prompt.task = "t";
  prompt.context = {1, 2, 3};
  prompt.questions = {{{4}, 5}, {{6}, 7}};
  EXPECT_OK(CheckPrompt(prompt));
  prompt.questions[1].answer = 5;
  EXPECT_THAT(CheckPrompt(prompt),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("question 1")));
  prompt.questions[1] = {{}, 7};
  EXPECT_THAT(CheckPrompt(prompt),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no tokens")));
}

TEST(PromptsTest, TextWindowsDontOverlap) {
  const WordTokenizer tokenizer;
  const std::string text = WordText();
  const std::vector<int32_t> all = tokenizer.Encode(text);
  TextWindowOptions options;
  options.context_tokens = 50;
  options.continuation_tokens = 10;
  options.count = 5;
  ASSERT_OK_AND_ASSIGN(const auto windows, TextWindows(tokenizer, text, options, 1));
  ASSERT_EQ(windows.size(), 5);
  const size_t step = all.size() / 5;
  for (size_t i = 0; i < windows.size(); ++i) {
    EXPECT_EQ(windows[i].context,
              std::vector<int32_t>(all.begin() + i * step, all.begin() + i * step + 50));
    EXPECT_EQ(windows[i].continuation,
              std::vector<int32_t>(all.begin() + i * step + 50, all.begin() + i * step + 60));
  }
  options.count = 1000;
  ASSERT_OK_AND_ASSIGN(const auto many, TextWindows(tokenizer, text, options, 1));
  EXPECT_EQ(many.size(), all.size() / 60);
  options.context_tokens = 100000;
  EXPECT_THAT(TextWindows(tokenizer, text, options, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("100010")));
}

}  // namespace
}  // namespace kvp

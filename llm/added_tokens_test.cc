#include "llm/added_tokens.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

AddedToken Token(int32_t id, const std::string& content) {
  AddedToken token;
  token.id = id;
  token.content = content;
  return token;
}

std::vector<std::string> Split(const std::vector<AddedToken>& tokens, const std::string& text) {
  AddedTokenFinder finder;
  for (const AddedToken& token : tokens) finder.Add(token, token.content);
  std::vector<std::string> pieces;
  finder.Split(
      text, [&](absl::string_view between) { pieces.push_back(absl::StrCat("'", between, "'")); },
      [&](int32_t id) { pieces.push_back(absl::StrCat(id)); });
  return pieces;
}

TEST(AddedTokenFinderTest, FindsTheFirstAndOfThoseTheLongest) {
  const std::vector<AddedToken> tokens = {Token(1, "<a>"), Token(2, "<a>b"), Token(3, "bc")};
  EXPECT_THAT(Split(tokens, "x<a>bc<a>y"), ElementsAre("'x'", "2", "'c'", "1", "'y'"));
  EXPECT_THAT(Split(tokens, "<a<a>"), ElementsAre("'<a'", "1"));
  EXPECT_THAT(Split(tokens, "abcbc"), ElementsAre("'a'", "3", "3"));
  EXPECT_THAT(Split(tokens, ""), IsEmpty());
  EXPECT_THAT(Split({}, "abc"), ElementsAre("'abc'"));
}

TEST(AddedTokenFinderTest, StripsTakeTheWhiteSpaceAlong) {
  AddedToken token = Token(1, "<m>");
  token.lstrip = true;
  EXPECT_THAT(Split({token}, "a \u3000\n<m> b"), ElementsAre("'a'", "1", "' b'"));
  token.rstrip = true;
  EXPECT_THAT(Split({token}, "a <m> \u00a0b"), ElementsAre("'a'", "1", "'b'"));
  token.lstrip = false;
  EXPECT_THAT(Split({token}, "a <m> \u180eb"), ElementsAre("'a '", "1", "'\u180eb'"));
  // What one has taken is no longer there for the next.
  token.lstrip = true;
  EXPECT_THAT(Split({token}, "<m>  <m>"), ElementsAre("1", "1"));
}

TEST(AddedTokenFinderTest, ATokenWithinTakenWhiteSpaceCountsUnlessNothingIsLeft) {
  AddedToken line = Token(1, "\n");
  line.rstrip = true;
  EXPECT_THAT(Split({line}, "a\n\n b"), ElementsAre("'a'", "1", "1", "'b'"));
  line.lstrip = true;
  EXPECT_THAT(Split({line}, "a\n\n b"), ElementsAre("'a'", "1", "'b'"));
}

TEST(AddedTokenFinderTest, ASingleWordHasNoWordCharacterBesideIt) {
  AddedToken token = Token(1, "and");
  token.single_word = true;
  EXPECT_THAT(Split({token}, "and sand andé and_ (and) and\u0301 世and 2and and"),
              ElementsAre("1", "' sand andé and_ ('", "1", "') and\u0301 世and 2and '", "1"));
  EXPECT_THAT(Split({token},
                    "\xff"
                    "and\xff"),
              ElementsAre("'\xff'", "1", "'\xff'"));
  // A longer token that is no single word hides a shorter one.
  EXPECT_THAT(Split({token, Token(2, "an")}, "sand an"), ElementsAre("'sand '", "2"));
}

TEST(AddedTokenFinderTest, ThousandsOfTokensAndALongTextAreNoProblem) {
  std::vector<AddedToken> tokens;
  for (int i = 0; i < 6000; ++i) tokens.push_back(Token(i, absl::StrCat("<unused", i, ">")));
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "<p>";
  EXPECT_THAT(Split(tokens, text + "<unused17>"), ElementsAre("'" + text + "'", "17"));
}

}  // namespace
}  // namespace kvp

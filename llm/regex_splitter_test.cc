#include "llm/regex_splitter.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Pieces(const std::string& pattern, const std::string& text,
                                bool literal = false) {
  const auto splitter = RegexSplitter::Create(pattern, literal);
  EXPECT_OK(splitter);
  std::vector<std::string> pieces;
  if (!splitter.ok()) return pieces;
  (*splitter)->Split(text, [&](absl::string_view piece, bool is_match) {
    pieces.push_back((is_match ? "+" : "-") + std::string(piece));
  });
  return pieces;
}

TEST(RegexSplitterTest, GivesMatchesAndWhatIsBetween) {
  EXPECT_THAT(Pieces("[0-9]+", "a12b3"), ElementsAre("-a", "+12", "-b", "+3"));
  EXPECT_THAT(Pieces("x", "abc"), ElementsAre("-abc"));
  EXPECT_THAT(Pieces(".", "a.b.", true), ElementsAre("-a", "+.", "-b", "+."));
  EXPECT_THAT(Pieces("b*", "abba"), ElementsAre("-a", "+bb", "-a"));
}

TEST(RegexSplitterTest, WhiteSpaceIsUnicodes) {
  // U+0085 and U+3000 are white space, U+180E isn't since Unicode 6.3.
  EXPECT_THAT(Pieces("\\s", "a\u0085b\u3000c\u180Ed"),
              ElementsAre("-a", "+\u0085", "-b", "+\u3000", "-c\u180Ed"));
  EXPECT_THAT(Pieces("[^\\sx]+", "ab\u00a0cxd"), ElementsAre("+ab", "-\u00a0", "+c", "-x", "+d"));
  EXPECT_THAT(Pieces("\\S+", "a\u180E b"), ElementsAre("+a\u180E", "- ", "+b"));
  EXPECT_THAT(Pieces("[]\\s]", "a] "), ElementsAre("-a", "+]", "+ "));
}

TEST(RegexSplitterTest, BytesThatAreNoUtf8MatchNothing) {
  EXPECT_THAT(Pieces(".", "a\xff"), ElementsAre("+a", "-\xff"));
  EXPECT_THAT(Pieces("[^a]+", "\xe4\xb8\xe4\xb8\x96"), ElementsAre("-\xe4\xb8", "+\xe4\xb8\x96"));
}

TEST(RegexSplitterTest, LinesHaveBeginningsAndEnds) {
  EXPECT_THAT(Pieces("^a|b$", "ab\naab"), ElementsAre("+a", "+b", "-\n", "+a", "-a", "+b"));
}

TEST(RegexSplitterTest, RefusesWhatIsNoExpressionOrMeansSomethingElseInOniguruma) {
  for (const char* pattern : {"(a", "[a", "\\p{Nonsense}", "a{2,1}"}) {
    EXPECT_THAT(RegexSplitter::Create(pattern),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at character")))
        << pattern;
  }
  for (const char* pattern : {"[a[bc]]", "[\\p{L}&&[^a]]", "\\p{N}{1,3}+", "\\h", "(?m:.)"}) {
    EXPECT_THAT(RegexSplitter::Create(pattern),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("something else")))
        << pattern;
  }
  for (const char* pattern : {"[[:alpha:]]+", "\\p{L}+", "\\x{41}+", "a{2}", "[&]", "\\[a"}) {
    EXPECT_OK(RegexSplitter::Create(pattern)) << pattern;
  }
}

}  // namespace
}  // namespace kvp

#include "llm/utf8_stream.h"

#include "gtest/gtest.h"

namespace kvp {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

TEST(Utf8StreamTest, HoldsBackCharactersUntilTheyAreWhole) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("a\xE2"), "a");
  EXPECT_EQ(stream.Push("\x82"), "");
  EXPECT_EQ(stream.Push("\xAC"
                        "b\xF0\x9F\x98"),
            "\xE2\x82\xAC"
            "b");
  EXPECT_EQ(stream.Push("\x80"), "\xF0\x9F\x98\x80");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(Utf8StreamTest, EveryTwoByteCharacterPassesByteByByte) {
  for (int code_point = 0x80; code_point < 0x800; ++code_point) {
    Utf8Stream stream;
    const std::string character = {static_cast<char>(0xC0 | (code_point >> 6)),
                                   static_cast<char>(0x80 | (code_point & 0x3F))};
    EXPECT_EQ(stream.Push(character.substr(0, 1)), "");
    EXPECT_EQ(stream.Push(character.substr(1)), character);
  }
}

TEST(Utf8StreamTest, ReplacesWhatIsNoCharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("\x80"
                        "a"),
            std::string(kReplacement) + "a");
  EXPECT_EQ(stream.Push("\xC0\xAF"), std::string(kReplacement) + kReplacement);
  // A surrogate: its first byte can't be followed by that second one.
  EXPECT_EQ(stream.Push("\xED\xA0\x80"), std::string(kReplacement) + kReplacement + kReplacement);
  EXPECT_EQ(stream.Push("\xE2\x82z"), std::string(kReplacement) + "z");
}

TEST(Utf8StreamTest, AnUnfinishedCharacterAtTheEndIsReplaced) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("\xE2\x82"), "");
  EXPECT_EQ(stream.Finish(), kReplacement);
  EXPECT_EQ(stream.Finish(), "");
}

}  // namespace
}  // namespace kvp

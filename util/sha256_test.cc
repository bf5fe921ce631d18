#include "util/sha256.h"

#include "gtest/gtest.h"

namespace kvp {
namespace {

TEST(Sha256Test, TheStandardsExamplesHaveTheirDigests) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, TheSplitIntoPiecesMakesNoDifference) {
  const std::string text(200, 'x');
  Sha256 whole;
  whole.Update(text);
  const auto expected = whole.Finish();
  for (size_t split = 0; split <= text.size(); ++split) {
    Sha256 pieces;
    pieces.Update(absl::string_view(text).substr(0, split));
    pieces.Update(absl::string_view(text).substr(split));
    EXPECT_EQ(pieces.Finish(), expected) << "split at " << split;
  }
}

TEST(Sha256Test, LengthsTellStringsApart) {
  Sha256 first;
  first.UpdateWithLength("ab");
  first.UpdateWithLength("c");
  Sha256 second;
  second.UpdateWithLength("a");
  second.UpdateWithLength("bc");
  EXPECT_NE(first.FinishHex(), second.FinishHex());

  Sha256 framed;
  framed.UpdateWithLength("ab");
  EXPECT_EQ(framed.FinishHex(), Sha256Hex(absl::string_view("\2\0\0\0\0\0\0\0ab", 10)));
}

}  // namespace
}  // namespace kvp

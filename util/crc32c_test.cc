#include "util/crc32c.h"

#include <random>
#include <string>

#include "gtest/gtest.h"

namespace kvp {
namespace {

// RFC 3720, appendix B.4.
TEST(Crc32cTest, AgreesWithThePublishedVectors) {
  std::string ascending(32, 0);
  for (int i = 0; i < 32; ++i) ascending[i] = static_cast<char>(i);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c(ascending), 0x46dd794eu);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

TEST(Crc32cTest, PortableAndHardwareAgreeAtEveryLengthAndSplit) {
  std::mt19937 random(7);
  std::string data;
  for (int length = 0; length < 70; ++length) {
    const uint32_t whole = internal::Crc32cPortable(data, 0);
    EXPECT_EQ(Crc32c(data), whole) << "length " << length;
    const absl::string_view view = data;
    const size_t split = data.size() / 3;
    EXPECT_EQ(Crc32c(view.substr(split), Crc32c(view.substr(0, split))), whole);
    data.push_back(static_cast<char>(random()));
  }
}

// Long enough for several lanes side by side.
TEST(Crc32cTest, PortableAndHardwareAgreeOnLongData) {
  std::mt19937 random(8);
  std::string data(60'000, 0);
  for (char& byte : data) byte = static_cast<char>(random());
  const absl::string_view view = data;
  for (const size_t size : {12'287, 12'288, 12'289, 24'576, 36'900, 60'000}) {
    for (const size_t begin : {0, 1, 7}) {
      const absl::string_view part = view.substr(begin, size - begin);
      for (const uint32_t before : {0u, 0x8a9136aau}) {
        EXPECT_EQ(Crc32c(part, before), internal::Crc32cPortable(part, before))
            << begin << " to " << size;
      }
    }
  }
}

}  // namespace
}  // namespace kvp

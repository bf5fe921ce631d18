#include "util/file.h"

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

TEST(FileTest, WritesPiecesInOrderAndReadsThemBack) {
  const std::string path = testing::TempDir() + "/pieces";
  ASSERT_OK(WriteFileAtomically(path, {"ab", absl::string_view("\0c", 2), "d"}));
  ASSERT_OK_AND_ASSIGN(const std::string contents, ReadFile(path));
  EXPECT_EQ(contents, std::string("ab\0cd", 5));
}

TEST(FileTest, ReplacesAnOldFileAndLeavesNoTemporary) {
  const std::string folder = testing::TempDir() + "/replace";
  ASSERT_OK(MakeDirectories(folder));
  ASSERT_OK(WriteFileAtomically(folder + "/f", {"old"}));
  ASSERT_OK(WriteFileAtomically(folder + "/f", {"new"}));
  EXPECT_EQ(*ReadFile(folder + "/f"), "new");
  const auto files = std::filesystem::directory_iterator(folder);
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

TEST(FileTest, AFailureNamesThePath) {
  EXPECT_THAT(ReadFile("/nowhere/x"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x")));
  EXPECT_THAT(WriteFileAtomically("/nowhere/x", {"a"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x: can't create")));
}

}  // namespace
}  // namespace kvp

#include "util/line_reader.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/file.h"
#include "util/status_matchers.h"
#include "zlib.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

using Lines = std::vector<std::pair<std::string, int64_t>>;

absl::StatusOr<Lines> LinesOf(const std::string& path) {
  Lines lines;
  RETURN_IF_ERROR(ForEachLine(path, [&lines](absl::string_view line, int64_t number) {
    lines.emplace_back(line, number);
    return absl::OkStatus();
  }));
  return lines;
}

std::string PathOf(const std::string& name) { return testing::TempDir() + "/" + name; }

// One gzip member that holds `text`.
std::string Gzip(const std::string& text) {
  const std::string path = PathOf("member.gz");
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  return *ReadFile(path);
}

TEST(LineReaderTest, BlankLinesAreSkippedAndCounted) {
  const std::string path = PathOf("plain.txt");
  ASSERT_OK(WriteFileAtomically(path, {"a\n\n \t\nb\r\nlast"}));
  EXPECT_THAT(*LinesOf(path), ElementsAre(Pair("a", 1), Pair("b", 4), Pair("last", 5)));
}

TEST(LineReaderTest, CompressedLinesLongerThanTheBufferComeWhole) {
  std::string text;
  for (int i = 0; i < 5; ++i) {
    absl::StrAppend(&text, std::string(400000 + i, static_cast<char>('a' + i)), "\n");
  }
  const std::string path = PathOf("long.gz");
  // Two members, one after the other, are one file: RFC 1952, section 2.2.
  ASSERT_OK(WriteFileAtomically(path, {Gzip(text), Gzip("end\n")}));
  ASSERT_OK_AND_ASSIGN(const Lines lines, LinesOf(path));
  ASSERT_EQ(lines.size(), 6u);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(lines[i].first, std::string(400000 + i, static_cast<char>('a' + i)));
    EXPECT_EQ(lines[i].second, i + 1);
  }
  EXPECT_THAT(lines[5], Pair("end", 6));
}

TEST(LineReaderTest, DamagedAndCutFilesAreNamed) {
  std::string text;
  for (int i = 0; i < 20000; ++i) absl::StrAppend(&text, i * 7919, "\n");
  const std::string whole = Gzip(text);
  const std::string path = PathOf("bad.gz");
  const auto damaged =
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(path), HasSubstr("gzip")));
  ASSERT_OK(WriteFileAtomically(path, {whole.substr(0, whole.size() / 2)}));
  EXPECT_THAT(LinesOf(path), damaged);
  std::string flipped = whole;
  flipped[flipped.size() / 2] ^= 0x10;
  ASSERT_OK(WriteFileAtomically(path, {flipped}));
  EXPECT_THAT(LinesOf(path), damaged);
}

TEST(LineReaderTest, WhatCannotBeOpenedIsNamed) {
  EXPECT_THAT(LinesOf(PathOf("none.txt")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.txt")));
  EXPECT_THAT(LinesOf(testing::TempDir()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("folder")));
}

TEST(LineReaderTest, StopsAtTheVisitorsError) {
  const std::string path = PathOf("three.txt");
  ASSERT_OK(WriteFileAtomically(path, {"1\n2\n3\n"}));
  int visited = 0;
  EXPECT_THAT(ForEachLine(path,
                          [&visited](absl::string_view line, int64_t number) {
                            ++visited;
                            return number == 2 ? absl::InternalError("no twos") : absl::OkStatus();
                          }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("no twos")));
  EXPECT_EQ(visited, 2);
}

TEST(ForEachLineTest, ALineThatNoMemoryHoldsIsRefused) {
  // 65 MiB without a line's end, in 65 KiB.
  const std::string path = PathOf("long.gz");
  ASSERT_OK(WriteFileAtomically(path, {Gzip(std::string(size_t{65} << 20, 'a'))}));
  EXPECT_THAT(LinesOf(path), StatusIs(absl::StatusCode::kInvalidArgument,
                                      AllOf(HasSubstr("long.gz:1"), HasSubstr("the line"))));
}

}  // namespace
}  // namespace kvp

#include "llm/embedded/austen_corpus.h"

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string BigEndian(uint32_t value) {
  std::string bytes(4, '\0');
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<char>(value >> (24 - 8 * i));
  return bytes;
}

// What R's serialize() writes for a character vector.
std::string Serialize(const std::vector<std::string>& lines) {
  std::string bytes = absl::StrCat("X\n", BigEndian(3), BigEndian(0x040002), BigEndian(0x030500),
                                   BigEndian(5), "UTF-8", BigEndian(16), BigEndian(lines.size()));
  for (const std::string& line : lines) {
    absl::StrAppend(&bytes, BigEndian(0x00040009), BigEndian(line.size()), line);
  }
  return bytes;
}

std::string Chunk(const std::string& object) {
  uLongf size = compressBound(object.size());
  std::string compressed(size, '\0');
  EXPECT_EQ(compress(reinterpret_cast<Bytef*>(&compressed[0]), &size,
                     reinterpret_cast<const Bytef*>(object.data()), object.size()),
            Z_OK);
  compressed.resize(size);
  return BigEndian(object.size()) + compressed;
}

std::string WriteDatabase(const std::string& bytes) {
  const std::string path = testing::TempDir() + "/novels.rdb";
  EXPECT_OK(WriteFileAtomically(path, {bytes}));
  return path;
}

TEST(AustenCorpusTest, ReadsEveryChunk) {
  const std::string path =
      WriteDatabase(Chunk(Serialize({"EMMA", "", "By Jane Austen", "", "CHAPTER I", "", "One"})) +
                    Chunk(Serialize({"Persuasion", "", "Chapter 1", "", "Two"})));
  ASSERT_OK_AND_ASSIGN(const std::vector<Novel> novels, ReadAustenNovels(path));
  ASSERT_EQ(novels.size(), 2u);
  EXPECT_EQ(novels[0].title, "emma");
  EXPECT_THAT(novels[0].paragraphs, ElementsAre("One"));
  EXPECT_EQ(novels[1].title, "persuasion");
  EXPECT_THAT(novels[1].paragraphs, ElementsAre("Two"));
}

TEST(AustenCorpusTest, ParagraphsAreSingleSpacedAsciiWithoutHeadings) {
  const Novel novel =
      NovelFromLines({"TITLE", "", "VOLUME I", "CHAPTER I", "", "It was  _very_",
                      "  caf\xc3\xa9-like.", "", "", "Next one.", "CHAPTER II", "Last."});
  EXPECT_THAT(novel.paragraphs, ElementsAre("It was very caf-like.", "Next one.", "Last."));
}

TEST(AustenCorpusTest, AMissingFileIsNamed) {
  EXPECT_THAT(ReadAustenNovels("/nowhere/Rdata.rdb"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/Rdata.rdb")));
}

TEST(AustenCorpusTest, ATruncationAtEveryByteIsRefused) {
  const std::string whole = Chunk(Serialize({"TITLE", "CHAPTER I", "Some words."}));
  for (size_t size = 1; size < whole.size(); ++size) {
    EXPECT_THAT(ReadAustenNovels(WriteDatabase(whole.substr(0, size))),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("novels.rdb")));
  }
}

TEST(AustenCorpusTest, AnotherRObjectIsRefused) {
  std::string object = Serialize({"a"});
  object[26] = 13;  // An integer vector's type code in place of the string vector's.
  EXPECT_THAT(ParseRCharacterVector(object),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("character vector")));
}

TEST(AustenCorpusTest, ALengthBeyondTheDataIsRefused) {
  const std::string object = Serialize({"a"}).substr(0, 27) + BigEndian(0x7fffffff);
  EXPECT_FALSE(ParseRCharacterVector(object).ok());
}

}  // namespace
}  // namespace kvp

#include "util/safetensors.h"

#include <cstring>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Path(absl::string_view name) { return testing::TempDir() + "/" + std::string(name); }

// A file with `header` as its JSON header and `data` behind it.
std::string WriteRaw(absl::string_view name, const std::string& header, absl::string_view data) {
  const uint64_t length = header.size();
  const std::string path = Path(name);
  EXPECT_OK(WriteFileAtomically(
      path, {absl::string_view(reinterpret_cast<const char*>(&length), 8), header, data}));
  return path;
}

TEST(SafetensorsTest, ReadsBackWhatItWrote) {
  const float weights[] = {1, 2, 3, 4, 5, 6};
  const std::string bytes(reinterpret_cast<const char*>(weights), sizeof(weights));
  const std::string path = Path("round_trip.safetensors");
  ASSERT_OK(WriteSafetensors(path, {{"w", {"F32", {2, 3}, bytes}}, {"empty", {"BF16", {0}, ""}}},
                             {{"format_version", "1"}}));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(path));
  ASSERT_OK_AND_ASSIGN(const SafetensorsEntry* w, file->Find("w"));
  EXPECT_EQ(w->dtype, "F32");
  EXPECT_THAT(w->shape, ElementsAre(2, 3));
  EXPECT_EQ(w->bytes, bytes);
  EXPECT_EQ(file->metadata().at("format_version"), "1");
  EXPECT_THAT(file->Find("x"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no tensor x")));
}

TEST(SafetensorsTest, TheSameEntriesGiveTheSameBytes) {
  ASSERT_OK(WriteSafetensors(Path("a"), {{"t", {"U8", {2}, "ab"}}}, {{"k", "v"}}));
  ASSERT_OK(WriteSafetensors(Path("b"), {{"t", {"U8", {2}, "ab"}}}, {{"k", "v"}}));
  EXPECT_EQ(*ReadFile(Path("a")), *ReadFile(Path("b")));
}

TEST(SafetensorsTest, AMissingFileIsNamed) {
  EXPECT_THAT(SafetensorsFile::Open("/nowhere/m.safetensors"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/m.safetensors")));
}

TEST(SafetensorsTest, ATruncationAtEveryByteIsRefused) {
  const std::string path = Path("whole.safetensors");
  ASSERT_OK(WriteSafetensors(path, {{"t", {"F32", {2}, "abcdefgh"}}}));
  const std::string whole = *ReadFile(path);
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = Path("cut.safetensors");
    ASSERT_OK(WriteFileAtomically(cut, {absl::string_view(whole).substr(0, size)}));
    EXPECT_THAT(SafetensorsFile::Open(cut),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cut.safetensors")))
        << size << " of " << whole.size() << " bytes";
  }
}

TEST(SafetensorsTest, LyingHeadersAreRefusedWithTheTensorAndTheValue) {
  const auto refused = [](absl::string_view name, const std::string& header,
                          absl::string_view message) {
    EXPECT_THAT(SafetensorsFile::Open(WriteRaw(name, header, "12345678")),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(std::string(message))));
  };
  refused("dtype", R"({"t":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", "F33");
  refused("range", R"({"t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", "[0, 16]");
  refused("shape", R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "tensor t");
  refused("order", R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "tensor t");
  refused("negative", R"({"t":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "shape [-2]");
  refused("huge", R"({"t":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,8]}})",
          "tensor t");
  refused("rest", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "4 bytes follow");
  refused("nothing", "{}", "8 bytes follow");
  refused("json", "{", "not valid JSON");
}

TEST(SafetensorsTest, WritingBytesThatDoNotFitTheShapeIsRefused) {
  EXPECT_THAT(WriteSafetensors(Path("bad"), {{"t", {"F32", {2}, "abc"}}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("tensor t"), HasSubstr("3 bytes"))));
}

}  // namespace
}  // namespace kvp

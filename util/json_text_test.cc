#include "util/json_text.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Nested(int levels) {
  return absl::StrCat(std::string(levels, '['), std::string(levels, ']'));
}

TEST(JsonTextTest, AThousandLevelsAreParsedAndNoMore) {
  ASSERT_OK_AND_ASSIGN(const nlohmann::json json, ParseJson(Nested(1000), "a.json"));
  EXPECT_EQ(json.dump(), Nested(1000));
  for (int levels : {1001, 200000}) {
    EXPECT_THAT(ParseJson(Nested(levels), "a.json"),
                StatusIs(kInvalid, HasSubstr("a.json: is nested too deeply")));
    EXPECT_THAT(ParseOrderedJson(absl::StrCat("{\"a\": ", Nested(levels), "}"), "a.json"),
                StatusIs(kInvalid, HasSubstr("a.json: is nested too deeply")));
  }
}

TEST(JsonTextTest, BracketsInStringsNestNothing) {
  const std::string text = absl::StrCat("\"\\\"", std::string(5000, '['), "\"");
  ASSERT_OK_AND_ASSIGN(const nlohmann::json json, ParseJson(text, "a.json"));
  EXPECT_EQ(json, absl::StrCat("\"", std::string(5000, '[')));
}

TEST(JsonTextTest, WhatIsNotJsonIsNamedWithItsPlace) {
  EXPECT_THAT(ParseJson("[1, oops]", "a.json:3"),
              StatusIs(kInvalid, StartsWith("a.json:3: is not valid JSON at byte 5")));
  EXPECT_THAT(ParseJson("", "a.json"), StatusIs(kInvalid, HasSubstr("not valid JSON")));
  EXPECT_THAT(ParseJson("[1e999]", "a.json"), StatusIs(kInvalid, HasSubstr("out of range")));
}

TEST(JsonTextTest, OrderedObjectsKeepTheirOrder) {
  ASSERT_OK_AND_ASSIGN(const nlohmann::ordered_json json,
                       ParseOrderedJson(R"({"b": 1, "a": 2})", "a.json"));
  EXPECT_EQ(json.dump(), R"({"b":1,"a":2})");
}

TEST(ExcerptTest, EndsBetweenCharacters) {
  EXPECT_EQ(Excerpt("abcd", 4), "abcd");
  EXPECT_EQ(Excerpt("abcde", 4), "abcd…");
  EXPECT_EQ(Excerpt("ab世界", 4), "ab…");
  EXPECT_EQ(Excerpt("ab世界", 5), "ab世…");
  EXPECT_EQ(Excerpt("\x80\x80\x80", 2), "…");
}

}  // namespace
}  // namespace kvp

#include "llm/normalizer.h"

#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

absl::StatusOr<std::unique_ptr<Normalizer>> Parse(const Json& json) {
  const auto component = TokenizerComponent::Create(json, "t.json", "normalizer");
  if (!component.ok()) return component.status();
  return Normalizer::Parse(*component);
}

std::string Normalized(const Json& json, const std::string& text) {
  const auto normalizer = Parse(json);
  EXPECT_OK(normalizer);
  return normalizer.ok() ? (*normalizer)->Normalize(text) : "";
}

// Examples of Unicode Standard Annex 15, tables 3 to 7, and of its conformance test.
TEST(NormalizerTest, UnicodeFormsAreThoseOfTheStandard) {
  struct Example {
    const char* source;
    const char* nfc;
    const char* nfd;
    const char* nfkc;
    const char* nfkd;
  };
  const Example examples[] = {
      {"\u212B", "\u00C5", "A\u030A", "\u00C5", "A\u030A"},
      {"\u2126", "\u03A9", "\u03A9", "\u03A9", "\u03A9"},
      {"\u1E0B\u0323", "\u1E0D\u0307", "d\u0323\u0307", "\u1E0D\u0307", "d\u0323\u0307"},
      {"q\u0307\u0323", "q\u0323\u0307", "q\u0323\u0307", "q\u0323\u0307", "q\u0323\u0307"},
      {"\uFB01", "\uFB01", "\uFB01", "fi", "fi"},
      {"2\u2075", "2\u2075", "2\u2075", "25", "25"},
      {"\u1E9B\u0323", "\u1E9B\u0323", "\u017F\u0323\u0307", "\u1E69", "s\u0323\u0307"},
      {"\uD55C", "\uD55C", "\u1112\u1161\u11AB", "\uD55C", "\u1112\u1161\u11AB"},
      {"\u1112\u1161\u11AB", "\uD55C", "\u1112\u1161\u11AB", "\uD55C", "\u1112\u1161\u11AB"},
      // Composition exclusions stay apart.
      {"\u0958", "\u0915\u093C", "\u0915\u093C", "\u0915\u093C", "\u0915\u093C"},
      {"\u00C0\u0323", "\u1EA0\u0300", "A\u0323\u0300", "\u1EA0\u0300", "A\u0323\u0300"},
      {"\u00A8", "\u00A8", "\u00A8", " \u0308", " \u0308"},
      {"a\u0305\u0315\u0300\u05AE\u0062", "a\u05AE\u0305\u0300\u0315b",
       "a\u05AE\u0305\u0300\u0315b", "a\u05AE\u0305\u0300\u0315b", "a\u05AE\u0305\u0300\u0315b"},
      {"plain", "plain", "plain", "plain", "plain"},
  };
  for (const Example& example : examples) {
    EXPECT_EQ(Normalized({{"type", "NFC"}}, example.source), example.nfc) << example.source;
    EXPECT_EQ(Normalized({{"type", "NFD"}}, example.source), example.nfd) << example.source;
    EXPECT_EQ(Normalized({{"type", "NFKC"}}, example.source), example.nfkc) << example.source;
    EXPECT_EQ(Normalized({{"type", "NFKD"}}, example.source), example.nfkd) << example.source;
  }
}

TEST(NormalizerTest, BytesThatAreNoUtf8Stay) {
  EXPECT_EQ(Normalized({{"type", "NFC"}},
                       "e\u0301\xff"
                       "e\u0301\xe4"),
            "\u00e9\xff\u00e9\xe4");
}

TEST(NormalizerTest, ALongRowOfCombiningMarksTakesNoQuadraticTime) {
  std::string text = "a";
  for (int i = 0; i < 200'000; ++i) text += "\u0301\u0323";
  const auto begin = std::chrono::steady_clock::now();
  const std::string normal = Normalized({{"type", "NFC"}}, text);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  // The dots below come first, and the first of them joins the letter.
  EXPECT_EQ(normal.substr(0, 5), "\u1EA1\u0323");
  EXPECT_EQ(normal.size(), text.size());
}

TEST(NormalizerTest, PrependLeavesAnEmptyTextAlone) {
  EXPECT_EQ(Normalized({{"type", "Prepend"}, {"prepend", "▁"}}, "a"), "▁a");
  EXPECT_EQ(Normalized({{"type", "Prepend"}, {"prepend", "▁"}}, ""), "");
}

TEST(NormalizerTest, ReplacesStringsAndExpressions) {
  const auto replace = [](const Json& pattern) {
    return Json{{"type", "Replace"}, {"pattern", pattern}, {"content", "_"}};
  };
  EXPECT_EQ(Normalized(replace({{"String", " "}}), "a  b "), "a__b_");
  EXPECT_EQ(Normalized(replace({{"String", "."}}), "a.b"), "a_b");
  EXPECT_EQ(Normalized(replace({{"Regex", "[0-9]+"}}), "a12b3"), "a_b_");
}

TEST(NormalizerTest, ASequenceIsAppliedInOrder) {
  const Json json = {{"type", "Sequence"},
                     {"normalizers",
                      {{{"type", "Prepend"}, {"prepend", " "}},
                       {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}};
  EXPECT_EQ(Normalized(json, "a b"), "▁a▁b");
}

TEST(NormalizerTest, RefusesWhatItDoesntKnowNamingIt) {
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Parse({{"type", "Lowercase"}}),
              StatusIs(kUnimplemented, HasSubstr("t.json: normalizer.type is \"Lowercase\"")));
  EXPECT_THAT(Parse({{"type", "Prepend"}}), StatusIs(kInvalid, HasSubstr("normalizer.prepend")));
  EXPECT_THAT(Parse({{"type", "Replace"}, {"pattern", {{"Regex", "a*"}}}, {"content", ""}}),
              StatusIs(kUnimplemented, HasSubstr("normalizer.pattern")));
  EXPECT_THAT(Parse({{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", ""}}),
              StatusIs(kInvalid, HasSubstr("normalizer.pattern.String")));
  EXPECT_THAT(Parse({{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, 3}}}),
              StatusIs(kInvalid, HasSubstr("normalizer.normalizers[1]")));
  Json nested = {{"type", "NFC"}};
  for (int i = 0; i < 100; ++i) {
    nested = {{"type", "Sequence"}, {"normalizers", Json::array({nested})}};
  }
  EXPECT_THAT(Parse(nested), StatusIs(kUnimplemented, HasSubstr("nested too deeply")));
}

TEST(NormalizerTest, ReplacementsThatMakeTextsHugeAreRefused) {
  const Json twice = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  const auto sequence = [&](int count) {
    return Json{{"type", "Sequence"}, {"normalizers", Json(std::vector<Json>(count, twice))}};
  };
  EXPECT_EQ(Normalized(sequence(9), "a"), std::string(512, 'a'));
  EXPECT_THAT(Parse(sequence(40)),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("normalizers")));
  Json huge = twice;
  huge["content"] = std::string(2000, 'a');
  EXPECT_THAT(Parse(huge), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("content")));
}

}  // namespace
}  // namespace kvp

// A tokenizer.json with anything changed in it gives a tokenizer or a status that names the file.

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/byte_fallback.h"
#include "llm/byte_level.h"
#include "llm/tokenizer.h"
#include "nlohmann/json.hpp"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr int kStructureRounds = 3000;
constexpr int kTextRounds = 3000;

Json SpecialToken(const std::string& name) {
  return {{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
}

Json Template(int id) {
  return {{"type", "TemplateProcessing"},
          {"single", {SpecialToken("<s>"), {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
          {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {id}}, {"tokens", {"<s>"}}}}}}};
}

Json AddedTokens(int id) {
  return {{{"id", id},
           {"content", "<s>"},
           {"single_word", false},
           {"lstrip", true},
           {"rstrip", true},
           {"normalized", true},
           {"special", true}}};
}

Json ByteLevelTokenizer() {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[ByteLevelOfBytes(std::string(1, static_cast<char>(byte)))] = byte;
  }
  vocabulary["th"] = 256;
  vocabulary["the"] = 257;
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  return {{"added_tokens", AddedTokens(258)},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern", {{"Regex", "\\p{L}+|\\s+(?!\\S)|[^a-z]{1,3}"}}},
               {"behavior", "Isolated"},
               {"invert", false}},
              byte_level}}}},
          {"post_processor", Template(258)},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"ignore_merges", true},
            {"vocab", vocabulary},
            {"merges", {"t h", "th e"}}}}};
}

Json SentencePieceTokenizer() {
  Json vocabulary = {{"▁", 256}, {"t", 257}, {"h", 258}, {"th", 259}, {"▁th", 260}, {"<unk>", 261}};
  for (int byte = 0; byte < 256; ++byte) vocabulary[FallbackTokenOfByte(byte)] = byte;
  return {
      {"added_tokens", AddedTokens(262)},
      {"normalizer", {{"type", "Replace"}, {"pattern", {{"Regex", "  +"}}}, {"content", " "}}},
      {"pre_tokenizer",
       {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", true}}},
      {"post_processor", Template(262)},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"byte_fallback", true},
        {"fuse_unk", true},
        {"vocab", vocabulary},
        {"merges", {{"t", "h"}, {"▁", "th"}}}}}};
}

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  size_t Below(size_t n) { return random_() % n; }

  // Changes one place of the JSON, of any depth.
  void MutateJson(Json& json) {
    Json* place = &json;
    while (!place->empty() && place->is_structured() && Below(4) != 0) {
      auto member = place->begin();
      std::advance(member, Below(place->size()));
      place = &*member;
    }
    switch (Below(4)) {
      case 0:
        if (place->is_structured() && !place->empty()) {
          auto member = place->begin();
          std::advance(member, Below(place->size()));
          place->erase(member);
        } else {
          *place = nullptr;
        }
        break;
      case 1:
        if (place->is_object()) {
          (*place)["type"] = Value();
        } else if (place->is_array()) {
          place->push_back(Value());
        } else {
          *place = Value();
        }
        break;
      case 2:
        if (place->is_string()) {
          *place = MutateAscii(place->get<std::string>());
        } else {
          *place = Value();
        }
        break;
      default:
        *place = Value();
    }
  }

  // Changes, takes out or puts in a byte or a few.
  std::string MutateText(std::string text) {
    for (size_t i = 1 + Below(4) / 3; i > 0 && !text.empty(); --i) {
      const size_t at = Below(text.size());
      const char byte =
          Below(2) == 0 ? static_cast<char>(random_()) : "{}[]\",:0-e\\u\x80"[Below(13)];
      switch (Below(8)) {
        case 0:
          text.resize(at);
          break;
        case 1:
          text.erase(at, 1 + Below(20));
          break;
        case 2:
        case 3:
        case 4:
          text[at] = byte;
          break;
        default:
          text.insert(at, 1, byte);
      }
    }
    return text;
  }

 private:
  Json Value() {
    const Json values[] = {nullptr,
                           true,
                           -1,
                           0,
                           1,
                           300,
                           int64_t{1} << 40,
                           1e300,
                           "",
                           "a",
                           "▁",
                           "ByteLevel",
                           "Metaspace",
                           "Sequence",
                           "NFKC",
                           "Strip",
                           "(?i:x)*",
                           "[",
                           Json::array(),
                           Json::object(),
                           {"a", "b"},
                           {{"type", "Prepend"}, {"prepend", "a"}},
                           {{"type", "Digits"}},
                           {{"String", " "}},
                           std::string(300, '(')};
    return values[Below(std::size(values))];
  }

  std::string MutateAscii(std::string text) {
    const char byte = static_cast<char>(' ' + Below(95));
    if (text.empty() || Below(2) == 0) return text + byte;
    const size_t at = Below(text.size());
    // Not within a character: JSON's strings are UTF-8.
    return text[at] >= 0 ? text.replace(at, 1, 1, byte) : std::string(1, byte);
  }

  std::mt19937 random_;
};

const std::vector<std::string>& Texts() {
  static const std::vector<std::string> texts = {
      "",          "the thing",       "  th  e\n\n", "é世😀\u0301",
      "<s> a <s>", "\xff\xe4\xb8 th", "▁▁th",        std::string(2000, 't')};
  return texts;
}

void TryOut(const std::string& json, int& parsed) {
  const auto tokenizer = Tokenizer::Parse(json, "t.json");
  if (!tokenizer.ok()) {
    const auto code = tokenizer.status().code();
    EXPECT_TRUE(code == absl::StatusCode::kInvalidArgument ||
                code == absl::StatusCode::kUnimplemented)
        << tokenizer.status();
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("t.json"));
    return;
  }
  ++parsed;
  for (const std::string& text : Texts()) {
    const std::vector<int32_t> ids = (*tokenizer)->EncodeSequence(text);
    EXPECT_OK((*tokenizer)->Decode(ids));
  }
}

TEST(TokenizerMutationTest, AChangedStructureGivesATokenizerOrAStatus) {
  Mutator mutator(1);
  int parsed = 0;
  for (int round = 0; round < kStructureRounds; ++round) {
    Json json = round % 2 == 0 ? ByteLevelTokenizer() : SentencePieceTokenizer();
    for (size_t i = 1 + mutator.Below(2); i > 0; --i) {
      if (json.is_structured()) mutator.MutateJson(json);
    }
    TryOut(json.dump(), parsed);
  }
  // Both outcomes come up.
  EXPECT_GT(parsed, kStructureRounds / 50);
  EXPECT_LT(parsed, kStructureRounds);
}

TEST(TokenizerMutationTest, AChangedTextGivesATokenizerOrAStatus) {
  Mutator mutator(2);
  const std::string texts[] = {ByteLevelTokenizer().dump(), SentencePieceTokenizer().dump()};
  int parsed = 0;
  for (int round = 0; round < kTextRounds; ++round) {
    TryOut(mutator.MutateText(texts[round % 2]), parsed);
  }
  EXPECT_GT(parsed, kTextRounds / 100);
  EXPECT_LT(parsed, kTextRounds);
}

TEST(TokenizerMutationTest, DeepNestingIsRefused) {
  for (const char* bracket : {"[", "{\"type\":"}) {
    std::string json = "{\"model\":";
    for (int i = 0; i < 200'000; ++i) json += bracket;
    EXPECT_THAT(Tokenizer::Parse(json, "t.json"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("t.json")));
  }
  std::string json = "{\"model\":" + std::string(200'000, '[') + std::string(200'000, ']') + "}";
  EXPECT_THAT(Tokenizer::Parse(json, "t.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("t.json")));
}

}  // namespace
}  // namespace kvp

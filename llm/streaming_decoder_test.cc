#include "llm/streaming_decoder.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/byte_fallback.h"
#include "llm/byte_level.h"
#include "nlohmann/json.hpp"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kReplacement[] = "\xEF\xBF\xBD";

// Tokens 0 to 255 are the bytes.
std::unique_ptr<Tokenizer> Bytes() {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[ByteLevelOfBytes(std::string(1, static_cast<char>(byte)))] = byte;
  }
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const Json json = {
      {"pre_tokenizer", byte_level},
      {"decoder", byte_level},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}}};
  auto tokenizer = Tokenizer::Parse(json.dump(), "t.json");
  EXPECT_OK(tokenizer);
  return *std::move(tokenizer);
}

// As Llama 2's: 0 to 255 the bytes <0x00>…, 256 "▁a", 257 "b", 258 "▁".
std::unique_ptr<Tokenizer> SentencePiece() {
  Json vocabulary = {{"▁a", 256}, {"b", 257}, {"▁", 258}};
  for (int byte = 0; byte < 256; ++byte) vocabulary[FallbackTokenOfByte(byte)] = byte;
  const Json decoders = {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                         {{"type", "ByteFallback"}},
                         {{"type", "Fuse"}},
                         {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}};
  const Json json = {{"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
                     {"model",
                      {{"type", "BPE"},
                       {"byte_fallback", true},
                       {"vocab", vocabulary},
                       {"merges", Json::array()}}}};
  auto tokenizer = Tokenizer::Parse(json.dump(), "t.json");
  EXPECT_OK(tokenizer);
  return *std::move(tokenizer);
}

std::vector<std::string> Stream(const Tokenizer& tokenizer, bool continues,
                                const std::vector<int32_t>& ids) {
  StreamingDecoder stream(&tokenizer, continues);
  std::vector<std::string> parts;
  for (int32_t id : ids) parts.push_back(stream.Push(id).value());
  parts.push_back(stream.Finish());
  return parts;
}

TEST(StreamingDecoderTest, ACharacterComesWithItsLastByte) {
  EXPECT_THAT(Stream(*Bytes(), false, {'a', 0xE4, 0xB8, 0x96, ' '}),
              ElementsAre("a", "", "", "世", " ", ""));
  EXPECT_THAT(Stream(*SentencePiece(), false, {256, 0xE4, 0xB8, 0x96, 257}),
              ElementsAre("a", "", "", "世", "b", ""));
}

TEST(StreamingDecoderTest, WhatIsNoCharacterIsReplaced) {
  EXPECT_THAT(Stream(*Bytes(), false, {0xE4, 'a', 0xFF, 0xE4}),
              ElementsAre("", std::string(kReplacement) + "a", kReplacement, "", kReplacement));
  EXPECT_THAT(Stream(*SentencePiece(), false, {0xE4, 257, 0xFF}),
              ElementsAre("", std::string(kReplacement) + "b", kReplacement, ""));
}

TEST(StreamingDecoderTest, OnlyATextsFirstSpaceIsTakenAway) {
  EXPECT_THAT(Stream(*SentencePiece(), false, {256, 256}), ElementsAre("a", " a", ""));
  EXPECT_THAT(Stream(*SentencePiece(), false, {258, 258, 256}), ElementsAre("", " ", " a", ""));
  EXPECT_THAT(Stream(*SentencePiece(), true, {256, 256}), ElementsAre(" a", " a", ""));
}

TEST(StreamingDecoderTest, GoesOnAfterAnUnknownToken) {
  const auto tokenizer = SentencePiece();
  StreamingDecoder stream(tokenizer.get(), /*continues=*/false);
  EXPECT_THAT(stream.Push(999), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("999")));
  ASSERT_OK_AND_ASSIGN(const std::string text, stream.Push(256));
  EXPECT_EQ(text, "a");
}

TEST(StreamingDecoderTest, TogetherThePartsAreTheWhole) {
  const auto tokenizer = SentencePiece();
  std::mt19937 random(1);
  const std::vector<int32_t> texts[] = {
      {256}, {257}, {258}, {0xC3, 0xA9}, {0xF0, 0x9F, 0x98, 0x80}};
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> ids;
    for (int i = random() % 20; i > 0; --i) {
      const std::vector<int32_t>& text = texts[random() % 5];
      ids.insert(ids.end(), text.begin(), text.end());
    }
    std::string together;
    for (const std::string& part : Stream(*tokenizer, false, ids)) together += part;
    ASSERT_OK_AND_ASSIGN(const std::string decoded, tokenizer->Decode(ids));
    EXPECT_EQ(together, decoded);
  }
}

}  // namespace
}  // namespace kvp

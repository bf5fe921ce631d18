// The tokenizer with vocabularies of characters, as SentencePiece's BPE has them.

#include <algorithm>
#include <climits>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/byte_fallback.h"
#include "llm/tokenizer.h"
#include "llm/utf8.h"
#include "nlohmann/json.hpp"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using Merges = std::vector<std::pair<std::string, std::string>>;

const char* const kLetters[] = {"▁", "a", "b", "c", "t", "h", "e", ".", "世"};

// Llama 2's normalizer and decoder, with the letters and merges given, then `more` tokens.
Json TokenizerOf(const Merges& merges, const std::vector<std::string>& more = {"<unk>"}) {
  Json vocabulary = Json::object();
  const auto add = [&](const std::string& token) {
    const int next = static_cast<int>(vocabulary.size());
    vocabulary.emplace(token, next);
  };
  for (const char* letter : kLetters) add(letter);
  for (const auto& [left, right] : merges) add(left + right);
  for (const std::string& token : more) add(token);
  return {{"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", "▁"}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}}},
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
            {"fuse_unk", true},
            {"vocab", vocabulary},
            {"merges", merges}}}};
}

std::vector<std::string> FallbackTokens() {
  std::vector<std::string> tokens = {"<unk>"};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(FallbackTokenOfByte(byte));
  return tokens;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(const Json& json) {
  return Tokenizer::Parse(json.dump(), "t.json");
}

// The tokens as the vocabulary spells them.
std::vector<std::string> Tokens(const Json& json, const std::string& text) {
  const auto tokenizer = Parse(json);
  EXPECT_OK(tokenizer);
  if (!tokenizer.ok()) return {};
  std::map<int32_t, std::string> spellings;
  for (const auto& [token, id] : json["model"]["vocab"].items()) spellings[id] = token;
  if (json.contains("added_tokens")) {
    for (const Json& token : json["added_tokens"]) spellings[token["id"]] = token["content"];
  }
  std::vector<std::string> tokens;
  for (int32_t id : (*tokenizer)->Encode(text)) tokens.push_back(spellings[id]);
  return tokens;
}

TEST(SentencePieceTest, SpacesBecomeCharactersAndMergeAcrossWords) {
  const Json json = TokenizerOf({{"t", "h"}, {"▁", "th"}, {"▁th", "e"}, {"e", "▁"}});
  EXPECT_THAT(Tokens(json, "the the"), ElementsAre("▁the", "▁the"));
  EXPECT_THAT(Tokens(json, " he  c"), ElementsAre("▁", "▁", "h", "e▁", "▁", "c"));
  EXPECT_THAT(Tokens(json, ""), ElementsAre());
}

// The ids of `prompt` and `answer`, each by itself, and of both as one text.
void ExpectJoined(const Json& json, const std::string& prompt, const std::string& answer) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
  std::vector<int32_t> ids = tokenizer->Encode(prompt);
  const std::vector<int32_t> continuation = tokenizer->EncodeContinuation(answer);
  ids.insert(ids.end(), continuation.begin(), continuation.end());
  EXPECT_EQ(ids, tokenizer->Encode(prompt + answer)) << prompt << "|" << answer;
}

TEST(SentencePieceTest, AContinuationIsEncodedAsBehindItsPrompt) {
  const Merges merges = {{"t", "h"}, {"▁", "th"}, {"▁th", "e"}, {"▁", "a"}, {"▁", "▁"}};
  std::vector<Json> tokenizers = {TokenizerOf(merges, FallbackTokens())};
  for (const char* scheme : {"always", "first", "never"}) {
    Json json = TokenizerOf(merges, FallbackTokens());
    json["normalizer"] = nullptr;
    json["pre_tokenizer"] = {
        {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", false}};
    tokenizers.push_back(json);
  }
  for (Json& json : tokenizers) {
    const int next = static_cast<int>(json["model"]["vocab"].size());
    json["added_tokens"] = {{{"id", next}, {"content", "<s>"}, {"special", true}}};
    for (const char* answer : {" the", "the", " the a", "  a", "b the", ".<s>the", "<s>the", ""}) {
      ExpectJoined(json, "the c", answer);
    }
  }
}

TEST(SentencePieceTest, UnknownCharactersFuse) {
  Json json = TokenizerOf({});
  EXPECT_THAT(Tokens(json, "axyb"), ElementsAre("▁", "a", "<unk>", "b"));
  json["model"]["fuse_unk"] = false;
  EXPECT_THAT(Tokens(json, "axyb"), ElementsAre("▁", "a", "<unk>", "<unk>", "b"));
  json["model"]["unk_token"] = nullptr;
  EXPECT_THAT(Tokens(json, "axyb"), ElementsAre("▁", "a", "b"));
}

TEST(SentencePieceTest, WithoutAnUnknownTokenNeighboursMerge) {
  Json json = TokenizerOf({{"a", "b"}});
  json["model"]["unk_token"] = nullptr;
  EXPECT_THAT(Tokens(json, "axb"), ElementsAre("▁", "ab"));
}

TEST(SentencePieceTest, UnknownCharactersFallBackToBytes) {
  Json json = TokenizerOf({{"a", "b"}}, FallbackTokens());
  json["model"]["byte_fallback"] = true;
  EXPECT_THAT(Tokens(json, "é世ab"), ElementsAre("▁", "<0xC3>", "<0xA9>", "世", "ab"));
  EXPECT_THAT(Tokens(json, "\n\xff"), ElementsAre("▁", "<0x0A>", "<0xFF>"));
  // Written out, it is no byte.
  EXPECT_THAT(Tokens(json, "a<0x41>").size(), 2 + 6);
}

TEST(SentencePieceTest, AByteCanMergeLikeAnyToken) {
  std::vector<std::string> tokens = FallbackTokens();
  tokens.push_back("<0x0A>a");
  Json json = TokenizerOf({}, tokens);
  json["model"]["byte_fallback"] = true;
  json["model"]["merges"].push_back({"<0x0A>", "a"});
  EXPECT_THAT(Tokens(json, "\na\nb"), ElementsAre("▁", "<0x0A>a", "<0x0A>", "b"));
}

TEST(SentencePieceTest, DecodingGivesTheTextBack) {
  Json json = TokenizerOf({{"▁", "th"}, {"t", "h"}}, FallbackTokens());
  json["model"]["vocab"]["th"] = json["model"]["vocab"].size();
  json["model"]["byte_fallback"] = true;
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
  for (const std::string text : {"the cat", " the", "  a  ", "é\n😀", "\xff\xfe a\xe4", ""}) {
    ASSERT_OK_AND_ASSIGN(const std::string decoded, tokenizer->Decode(tokenizer->Encode(text)));
    EXPECT_EQ(decoded, text);
  }
  ASSERT_OK_AND_ASSIGN(const std::string later,
                       tokenizer->DecodeContinuation(tokenizer->Encode("a b")));
  EXPECT_EQ(later, " a b");
}

Json WithMetaspace(Json json, const Json& options) {
  Json metaspace = {{"type", "Metaspace"}, {"replacement", "▁"}};
  metaspace.update(options);
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = metaspace;
  json["decoder"] = metaspace;
  json["added_tokens"] = {{{"id", 900}, {"content", "<s>"}, {"normalized", false}}};
  return json;
}

TEST(SentencePieceTest, MetaspacePrependsAsItsSchemeSays) {
  const Json json = TokenizerOf({{"▁", "a"}, {"a", "▁"}});
  const auto tokens = [&](const Json& options) {
    return Tokens(WithMetaspace(json, options), "a<s>a a");
  };
  const auto everywhere = ElementsAre("▁a", "<s>", "▁a", "▁a");
  EXPECT_THAT(tokens({{"prepend_scheme", "always"}}), everywhere);
  EXPECT_THAT(tokens({{"prepend_scheme", "first"}}), ElementsAre("▁a", "<s>", "a", "▁a"));
  EXPECT_THAT(tokens({{"prepend_scheme", "never"}}), ElementsAre("a", "<s>", "a", "▁a"));
  EXPECT_THAT(tokens({{"add_prefix_space", true}}), everywhere);
  EXPECT_THAT(tokens({{"add_prefix_space", false}}), ElementsAre("a", "<s>", "a", "▁a"));
  EXPECT_THAT(Tokens(WithMetaspace(json, {{"prepend_scheme", "first"}}), "<s>a"),
              ElementsAre("<s>", "a"));
  // Split before each space, "▁" "a▁" can't come up; unsplit, the earlier merge goes first.
  const Json other = TokenizerOf({{"a", "▁"}, {"▁", "a"}});
  EXPECT_THAT(Tokens(WithMetaspace(other, {{"split", true}}), "a a"), ElementsAre("▁a", "▁a"));
  EXPECT_THAT(Tokens(WithMetaspace(other, {{"split", false}}), "a a"), ElementsAre("▁", "a▁", "a"));
  EXPECT_THAT(
      Parse(WithMetaspace(json, {{"add_prefix_space", false}, {"prepend_scheme", "always"}})),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("prepend_scheme")));
}

TEST(SentencePieceTest, MetaspaceDecodesItsFirstTokenWithoutSpace) {
  const Json json = TokenizerOf({{"▁", "a"}});
  for (const auto& [scheme, expected] :
       std::map<std::string, std::string>{{"always", "a a"}, {"first", "a a"}, {"never", " a a"}}) {
    ASSERT_OK_AND_ASSIGN(const auto tokenizer,
                         Parse(WithMetaspace(json, {{"prepend_scheme", scheme}})));
    const int32_t id = json["model"]["vocab"]["▁a"];
    ASSERT_OK_AND_ASSIGN(const std::string decoded, tokenizer->Decode({id, id}));
    EXPECT_EQ(decoded, expected) << scheme;
  }
}

// An independent encoder: merges by looking through all pairs every time, of the whole text.
std::vector<std::string> SlowTokens(const std::string& text, const Merges& merges) {
  std::vector<std::string> symbols = {"▁"};
  for (size_t i = 0; i < text.size();) {
    const size_t bytes = FirstCharacter(absl::string_view(text).substr(i)).bytes;
    symbols.push_back(text[i] == ' ' ? "▁" : text.substr(i, bytes));
    i += bytes;
  }
  while (true) {
    size_t best_rank = merges.size();
    size_t best = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found =
          std::find(merges.begin(), merges.end(), std::make_pair(symbols[i], symbols[i + 1]));
      const size_t rank = found - merges.begin();
      if (rank < best_rank) {
        best_rank = rank;
        best = i;
      }
    }
    if (best_rank == merges.size()) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + best + 1);
  }
}

// Whether text is cut only where no merge reaches across shows on merges of any shape.
TEST(SentencePieceTest, AgreesWithASlowEncoderOnRandomMerges) {
  std::mt19937 random(4);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> tokens(std::begin(kLetters), std::end(kLetters));
    Merges merges;
    for (int i = 0; i < 14; ++i) {
      merges.push_back({tokens[random() % tokens.size()], tokens[random() % tokens.size()]});
      tokens.push_back(merges.back().first + merges.back().second);
    }
    std::sort(merges.begin(), merges.end());
    merges.erase(std::unique(merges.begin(), merges.end()), merges.end());
    std::shuffle(merges.begin(), merges.end(), random);
    const Json json = TokenizerOf(merges);
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (int j = 1 + random() % 120; j > 0; --j) {
        const char* letters[] = {" ", "a", "b", "c", "世", "t"};
        text += letters[random() % std::size(letters)];
      }
      ASSERT_THAT(Tokens(json, text), ElementsAreArray(SlowTokens(text, merges))) << text;
    }
  }
}

TEST(SentencePieceTest, ALongTextIsNoProblem) {
  Json json = TokenizerOf({{"a", "a"}, {"aa", "aa"}, {"▁", "aa"}, {"t", "h"}}, FallbackTokens());
  json["model"]["byte_fallback"] = true;
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
  for (const char* unit : {"a", " ", "the cat ", "é", "\xff"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    ASSERT_OK_AND_ASSIGN(const std::string decoded, tokenizer->Decode(tokenizer->Encode(text)));
    EXPECT_TRUE(decoded == text) << unit;
  }
}

TEST(SentencePieceTest, PartsThatTakeMemoryWithoutEndAreRefused) {
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  Json json = TokenizerOf({});
  const Json twice = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  json["decoder"]["decoders"] = std::vector<Json>(60, twice);
  EXPECT_THAT(Parse(json), StatusIs(kUnimplemented, HasSubstr("decoder")));

  json = TokenizerOf({});
  const Json digits = {{"type", "Digits"}};
  json["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers", std::vector<Json>(50'000, digits)}};
  EXPECT_THAT(Parse(json), StatusIs(kUnimplemented, HasSubstr("pretokenizers")));

  json = TokenizerOf({});
  std::vector<Json> single(1000, {{"SpecialToken", {{"id", "x"}}}});
  single.push_back({{"Sequence", {{"id", "A"}}}});
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", single},
                            {"special_tokens", {{"x", {{"ids", std::vector<int>(1000, 0)}}}}}};
  EXPECT_THAT(Parse(json), StatusIs(kUnimplemented, HasSubstr("too many tokens")));
}

}  // namespace
}  // namespace kvp

#include "llm/tokenizer.h"

#include <algorithm>
#include <cctype>
#include <climits>
#include <map>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/byte_level.h"
#include "nlohmann/json.hpp"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

using Merges = std::vector<std::pair<std::string, std::string>>;

// Pairs as the file spells them, from the most common on.
const Merges& EnglishMerges() {
  static const Merges merges = {
      {"t", "h"},  {"Ġ", "t"}, {"h", "e"},   {"th", "e"},  {"i", "n"},  {"Ġt", "he"},
      {"e", "r"},  {"a", "n"}, {"an", "d"},  {"Ġ", "and"}, {"in", "g"}, {"l", "l"},
      {"Ġ", "Ġ"},  {"1", "2"}, {"12", "3"},  {"Ã", "©"},   {"Ċ", "Ċ"},  {"a", "a"},
      {"aa", "a"}, {"'", "s"}, {"ĠĠ", "ĠĠ"}, {"o", "n"},   {"\"", "."},
  };
  return merges;
}

// Ids: the bytes 0..255, then the merges' tokens.
Json TokenizerOf(const Merges& merges) {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[ByteLevelOfBytes(std::string(1, static_cast<char>(byte)))] = byte;
  }
  Json list = Json::array();
  for (const auto& [left, right] : merges) {
    list.push_back(left + " " + right);
    const int next = static_cast<int>(vocabulary.size());
    vocabulary.emplace(left + right, next);
  }
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  return {{"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", list}}}};
}

Json SplitThenByteLevel(const std::string& pattern) {
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"},
             {"pattern", {{"Regex", pattern}}},
             {"behavior", "Isolated"},
             {"invert", false}},
            {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
}

Json AddedToken(int id, const std::string& content, bool normalized = false) {
  return {{"id", id},        {"content", content}, {"single_word", false},    {"lstrip", false},
          {"rstrip", false}, {"special", true},    {"normalized", normalized}};
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(const Json& json) {
  return Tokenizer::Parse(json.dump(), "t.json");
}

// An independent encoder of ASCII text: GPT-2's pattern by hand, and merges by looking through all
// pairs every time.
std::vector<std::string> SlowPieces(const std::string& text) {
  std::vector<std::string> pieces;
  const auto letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; };
  const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  const auto space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  const auto other = [&](char c) { return !letter(c) && !digit(c) && !space(c); };
  size_t i = 0;
  while (i < text.size()) {
    size_t end = i;
    for (const char* suffix : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
      if (text.compare(i, std::string(suffix).size(), suffix) == 0) {
        end = i + std::string(suffix).size();
        break;
      }
    }
    const size_t word = text[i] == ' ' ? i + 1 : i;
    if (end == i && word < text.size() && !space(text[word])) {
      end = word;
      const auto run = [&](const auto& kind) {
        while (end < text.size() && kind(text[end])) ++end;
      };
      if (letter(text[word])) {
        run(letter);
      } else if (digit(text[word])) {
        run(digit);
      } else {
        run(other);
      }
    }
    if (end == i) {
      while (end < text.size() && space(text[end])) ++end;
      // The last blank before a word belongs to what follows.
      if (end < text.size() && end - i > 1) --end;
    }
    pieces.push_back(text.substr(i, end - i));
    i = end;
  }
  return pieces;
}

std::vector<int32_t> SlowMerge(const std::string& piece, const Merges& merges,
                               const std::map<std::string, int32_t>& ids) {
  std::vector<std::string> symbols;
  for (char byte : piece) symbols.push_back(ByteLevelOfBytes(std::string(1, byte)));
  while (true) {
    int best_rank = INT_MAX;
    size_t best = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      for (size_t rank = 0; rank < merges.size(); ++rank) {
        if (merges[rank].first == symbols[i] && merges[rank].second == symbols[i + 1] &&
            static_cast<int>(rank) < best_rank) {
          best_rank = static_cast<int>(rank);
          best = i;
        }
      }
    }
    if (best_rank == INT_MAX) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + best + 1);
  }
  std::vector<int32_t> result;
  for (const std::string& symbol : symbols) result.push_back(ids.at(symbol));
  return result;
}

std::vector<int32_t> SlowEncode(const std::string& text, const Json& tokenizer,
                                const Merges& merges) {
  const auto ids = tokenizer["model"]["vocab"].get<std::map<std::string, int32_t>>();
  std::vector<int32_t> result;
  for (const std::string& piece : SlowPieces(text)) {
    const std::vector<int32_t> merged = SlowMerge(piece, merges, ids);
    result.insert(result.end(), merged.begin(), merged.end());
  }
  return result;
}

// The tokens' texts, which show how the text was split.
std::vector<std::string> Tokens(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::string> tokens;
  for (int32_t id : tokenizer.Encode(text)) tokens.push_back(*tokenizer.Decode({id}));
  return tokens;
}

// A tokenizer whose pieces come out whole, since every byte pair merges: shows the pre-tokenizer
// alone.
std::vector<std::string> Pieces(const Json& pre_tokenizer, const std::vector<std::string>& pieces,
                                const std::string& text) {
  Json json = TokenizerOf({});
  json["pre_tokenizer"] = pre_tokenizer;
  json["model"]["ignore_merges"] = true;
  for (const std::string& piece : pieces) {
    const int next = static_cast<int>(json["model"]["vocab"].size());
    json["model"]["vocab"].emplace(ByteLevelOfBytes(piece), next);
  }
  const auto tokenizer = Parse(json);
  EXPECT_OK(tokenizer);
  return tokenizer.ok() ? Tokens(**tokenizer, text) : std::vector<std::string>();
}

TEST(ByteLevelTest, SpellsBytesAsGpt2Does) {
  EXPECT_EQ(ByteLevelOfBytes(" a\n\x7f\xad"), "ĠaĊġŃ");
  for (int byte = 0; byte < 256; ++byte) {
    const std::string bytes(1, static_cast<char>(byte));
    EXPECT_EQ(BytesOfByteLevel(ByteLevelOfBytes(bytes)), bytes);
  }
  EXPECT_EQ(BytesOfByteLevel(" "), std::nullopt);
  EXPECT_EQ(BytesOfByteLevel("世"), std::nullopt);
  EXPECT_EQ(BytesOfByteLevel("a\xff"), std::nullopt);
}

TEST(TokenizerTest, MergesByRank) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(TokenizerOf(EnglishMerges())));
  EXPECT_THAT(Tokens(*tokenizer, "the thing and then"),
              ElementsAre("the", " ", "th", "ing", " and", " ", "the", "n"));
  EXPECT_THAT(Tokens(*tokenizer, "aaaaa"), ElementsAre("aa", "aaa"));
  EXPECT_THAT(tokenizer->Encode(""), IsEmpty());
  EXPECT_EQ(tokenizer->vocab_size(), 256 + 23);
}

TEST(TokenizerTest, AgreesWithASlowEncoderOnRandomText) {
  const Json json = TokenizerOf(EnglishMerges());
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
  const std::vector<std::string> parts = {
      "the", " ",  "  ", "'s", "he",  "and", "ing", "aaaa", "123", "\n",   "\t", "in", "t",
      "ll'", "12", "\"", "er", "'ve", " th", ".",   "'re",  "Q",   "'llx", "\r", "aa", "on"};
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = random() % 30; i > 0; --i) text += parts[random() % parts.size()];
    EXPECT_THAT(tokenizer->Encode(text), ElementsAreArray(SlowEncode(text, json, EnglishMerges())))
        << testing::PrintToString(text);
  }
}

// Ranks that no training would give, where a merge makes way for one that goes first.
TEST(TokenizerTest, AgreesWithASlowEncoderOnRandomMerges) {
  std::mt19937 random(2);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::string> tokens = {"a", "b", "c"};
    Merges merges;
    for (int i = 0; i < 12; ++i) {
      merges.push_back({tokens[random() % tokens.size()], tokens[random() % tokens.size()]});
      tokens.push_back(merges.back().first + merges.back().second);
    }
    std::shuffle(merges.begin(), merges.end(), random);
    std::sort(merges.begin(), merges.end());
    merges.erase(std::unique(merges.begin(), merges.end()), merges.end());
    std::shuffle(merges.begin(), merges.end(), random);
    const Json json = TokenizerOf(merges);
    ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (int j = random() % 60; j > 0; --j) text += static_cast<char>('a' + random() % 3);
      EXPECT_THAT(tokenizer->Encode(text), ElementsAreArray(SlowEncode(text, json, merges)));
    }
  }
}

TEST(TokenizerTest, AnyBytesComeBack) {
  for (const Json& pre_tokenizer :
       {TokenizerOf({})["pre_tokenizer"], SplitThenByteLevel(kLlama3Pattern)}) {
    Json json = TokenizerOf(EnglishMerges());
    json["pre_tokenizer"] = pre_tokenizer;
    json["added_tokens"] = {AddedToken(1000, "\xf0\x9f\x98\x80"), AddedToken(1001, "the!")};
    ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
    std::mt19937 random(3);
    const std::vector<std::string> parts = {"é",
                                            "世界",
                                            "😀",
                                            "\xff",
                                            "\xc3",
                                            "\xe4\xb8",
                                            " ",
                                            "\n",
                                            "the",
                                            "１２",
                                            "e\u0301",
                                            "\xed\xa0\x80",
                                            "\xf4\x90\x80\x80",
                                            std::string(1, '\0'),
                                            "\u2003",
                                            "\xc0\xaf",
                                            "Ġ"};
    for (int round = 0; round < 500; ++round) {
      std::string text;
      for (int i = random() % 40; i > 0; --i) {
        if (round % 2 == 0) {
          text += static_cast<char>(random());
        } else {
          text += parts[random() % parts.size()];
        }
      }
      ASSERT_OK_AND_ASSIGN(const std::string decoded, tokenizer->Decode(tokenizer->Encode(text)));
      EXPECT_EQ(decoded, text);
    }
  }
}

TEST(TokenizerTest, LongTextIsNoProblem) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(TokenizerOf(EnglishMerges())));
  for (const char* unit : {"a", " ", "the ", "\xff", "é"}) {
    std::string text;
    while (text.size() < 100'000) text += unit;
    ASSERT_OK_AND_ASSIGN(const std::string decoded, tokenizer->Decode(tokenizer->Encode(text)));
    EXPECT_TRUE(decoded == text) << unit;
  }
}

TEST(TokenizerTest, SplitsAsLlama3Does) {
  EXPECT_THAT(Pieces(SplitThenByteLevel(kLlama3Pattern),
                     {"Hello", " wörld", "'S", "123", "45", "!!\n\n", "   ", "  ", " x", "\n \n"},
                     "Hello wörld'S12345!!\n\n    x\n \n"),
              ElementsAre("Hello", " wörld", "'S", "123", "45", "!!\n\n", "   ", " x", "\n \n"));
}

TEST(TokenizerTest, SplitsAsGpt2Does) {
  const Json gpt2 = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  EXPECT_THAT(Pieces(gpt2, {"Hello", " wörld", "'S", "'s", "S", " 123", "?!", "  ", " x", "\n\n"},
                     "Hello wörld's'S 123?!   x\n\n"),
              ElementsAre("Hello", " wörld", "'s", "'", "S", " 123", "?!", "  ", " x", "\n\n"));
}

TEST(TokenizerTest, AddsAPrefixSpaceWhereAskedFor) {
  const Json prefix = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  EXPECT_THAT(Pieces(prefix, {" Hi", " you"}, "Hi you"), ElementsAre(" Hi", " you"));
  EXPECT_THAT(Pieces(prefix, {" Hi", " you"}, " Hi you"), ElementsAre(" Hi", " you"));
}

TEST(TokenizerTest, FindsAddedTokensFirstAndTheLongestOfThem) {
  Json json = TokenizerOf(EnglishMerges());
  json["added_tokens"] = {AddedToken(300, "<|a|>"), AddedToken(301, "<|a|>b"),
                          AddedToken(302, "hen", /*normalized=*/true)};
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
  EXPECT_THAT(Tokens(*tokenizer, "<|a|>b then<|a|><|a|"),
              ElementsAre("<|a|>b", " t", "hen", "<|a|>", "<", "|", "a", "|"));
  EXPECT_EQ(tokenizer->Encode("<|a|>b")[0], 301);
  EXPECT_EQ(tokenizer->vocab_size(), 303);
  EXPECT_THAT(tokenizer->Decode({299}), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("299")));
  EXPECT_THAT(tokenizer->Decode({1, -1}), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("-1")));
  EXPECT_THAT(tokenizer->Decode({303}), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("303")));
}

TEST(TokenizerTest, NormalizesToNfc) {
  Json json = TokenizerOf(EnglishMerges());
  json["normalizer"] = {{"type", "NFC"}};
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
  EXPECT_THAT(Tokens(*tokenizer,
                     "e\u0301\xff"
                     "e\u0301"),
              ElementsAre("é", "\xff", "é"));
}

TEST(TokenizerTest, PairsAndStringsAreTheSameMerges) {
  Json json = TokenizerOf(EnglishMerges());
  json["model"]["merges"] = EnglishMerges();
  ASSERT_OK_AND_ASSIGN(const auto pairs, Parse(json));
  ASSERT_OK_AND_ASSIGN(const auto strings, Parse(TokenizerOf(EnglishMerges())));
  EXPECT_EQ(pairs->Encode("the thing and then"), strings->Encode("the thing and then"));
}

TEST(TokenizerTest, PostProcessorAddsTokensToSequencesOnly) {
  Json json = TokenizerOf({});
  json["added_tokens"] = {AddedToken(256, "<s>"), AddedToken(257, "</s>")};
  json["post_processor"] = {
      {"type", "Sequence"},
      {"processors",
       {{{"type", "ByteLevel"}, {"trim_offsets", false}},
        {{"type", "TemplateProcessing"},
         {"single",
          {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
           {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
           {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}}}},
         {"special_tokens",
          {{"<s>", {{"id", "<s>"}, {"ids", {256}}, {"tokens", {"<s>"}}}},
           {"</s>", {{"id", "</s>"}, {"ids", {257}}, {"tokens", {"</s>"}}}}}}}}}};
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
  EXPECT_THAT(tokenizer->Encode("x"), ElementsAre('x'));
  EXPECT_THAT(tokenizer->EncodeSequence("x"), ElementsAre(256, 'x', 257));
}

TEST(TokenizerTest, PostProcessorsOfASequenceWorkFromTheInsideOut) {
  Json json = TokenizerOf({});
  json["added_tokens"] = {AddedToken(256, "<s>"), AddedToken(257, "</s>"), AddedToken(258, "<b>")};
  json["post_processor"] = {
      {"type", "Sequence"},
      {"processors",
       {{{"type", "RobertaProcessing"}, {"cls", {"<s>", 256}}, {"sep", {"</s>", 257}}},
        {{"type", "TemplateProcessing"},
         {"single",
          {{{"SpecialToken", {{"id", "<b>"}, {"type_id", 0}}}},
           {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
         {"special_tokens", {{"<b>", {{"id", "<b>"}, {"ids", {258}}, {"tokens", {"<b>"}}}}}}}}}};
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
  EXPECT_THAT(tokenizer->EncodeSequence("x"), ElementsAre(258, 256, 'x', 257));
}

// They are about batches, which the caller makes.
TEST(TokenizerTest, TruncationAndPaddingDoNothing) {
  Json json = TokenizerOf({});
  json["truncation"] = {{"max_length", 2}};
  json["padding"] = {{"strategy", {{"Fixed", 8}}}};
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Parse(json));
  EXPECT_THAT(tokenizer->EncodeSequence("xyz"), ElementsAre('x', 'y', 'z'));
}

struct BadCase {
  absl::StatusCode code;
  const char* pointer;  // where in the JSON
  Json value;
  std::string named;
};

TEST(TokenizerTest, RefusesWhatItDoesntUnderstandNamingIt) {
  const auto unsupported = absl::StatusCode::kUnimplemented;
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const BadCase cases[] = {
      {unsupported, "/model/type", "Unigram", "model.type is \"Unigram\""},
      {unsupported, "/model/dropout", 0.1, "model.dropout"},
      {unsupported, "/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix"},
      {unsupported, "/normalizer", {{"type", "Lowercase"}}, "normalizer.type is \"Lowercase\""},
      {unsupported, "/pre_tokenizer", {{"type", "Whitespace"}}, "pre_tokenizer.type"},
      {invalid, "/pre_tokenizer", {{"type", "Metaspace"}}, "pre_tokenizer.replacement is missing"},
      {invalid, "/pre_tokenizer/type", nullptr, "pre_tokenizer.type"},
      {invalid, "/pre_tokenizer/use_regex", 1, "pre_tokenizer.use_regex is 1"},
      {unsupported, "/decoder", {{"type", "WordPiece"}}, "decoder.type"},
      {unsupported, "/decoder", nullptr, "decoder"},
      {unsupported, "/post_processor", {{"type", "Other"}}, "post_processor.type"},
      {invalid, "/post_processor", {{"type", "BertProcessing"}}, "post_processor.cls"},
      {invalid, "/normalizer", "NFC", "normalizer"},
      {invalid, "/model/unk_token", "<unk>", "model.unk_token is \"<unk>\""},
      {invalid, "/model/fuse_unk", "no", "model.fuse_unk is \"no\""},
      {invalid, "/model", 3, "model is 3"},
      {invalid, "/model/vocab", Json::array(), "model.vocab"},
      {invalid, "/model/vocab/a", -1, "model.vocab.a is -1"},
      {invalid, "/model/vocab/a", 98, "98"},
      {invalid, "/model/vocab", {{"a", 0}}, "model.vocab: the byte 0"},
      {invalid, "/model/merges", "a b", "model.merges"},
      {invalid, "/model/merges", {"ab"}, "model.merges[0] is \"ab\""},
      {invalid, "/model/merges", {{"a", "b", "c"}}, "model.merges[0]"},
      {invalid, "/model/merges", {"x y"}, "lacks \"xy\""},
      {invalid, "/added_tokens", Json::array({AddedToken(5, "a")}), "added_tokens[0].id is 5"},
      {invalid, "/added_tokens", Json::array({AddedToken(5, "new")}), "id 5"},
      {invalid, "/added_tokens", Json::array({AddedToken(500, "")}), "added_tokens[0].content"},
      {invalid, "/pre_tokenizer", SplitThenByteLevel("(a"), "pretokenizers[0].pattern.Regex"},
  };
  for (const BadCase& bad : cases) {
    Json json = TokenizerOf(EnglishMerges());
    json[Json::json_pointer(bad.pointer)] = bad.value;
    EXPECT_THAT(Parse(json), StatusIs(bad.code, AllOf(HasSubstr("t.json"), HasSubstr(bad.named))))
        << bad.pointer;
  }
  Json split = SplitThenByteLevel("a");
  split["pretokenizers"][0]["behavior"] = "Sideways";
  Json json = TokenizerOf({});
  json["pre_tokenizer"] = split;
  EXPECT_THAT(Parse(json), StatusIs(invalid, HasSubstr("behavior is \"Sideways\"")));
  std::swap(split["pretokenizers"][0], split["pretokenizers"][1]);
  json["pre_tokenizer"] = split;
  EXPECT_THAT(Parse(json), StatusIs(unsupported, HasSubstr("nothing may follow ByteLevel")));
  EXPECT_THAT(Tokenizer::Parse("nonsense", "t.json"), StatusIs(invalid, HasSubstr("t.json")));
  EXPECT_THAT(Tokenizer::Load("/nowhere/tokenizer.json"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/tokenizer.json")));
}

}  // namespace
}  // namespace kvp

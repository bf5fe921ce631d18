#include "llm/embedded/byte_pair_trainer.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tokenizer.h"
#include "nlohmann/json.hpp"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr char kText[] =
    "The cat sat on the mat, and the cat's hat isn't on the mat. \"Oh!\" said the\ncat--the hat; "
    "27 hats  and "
    "a mat? Then they'll sit. They sat; they've sat.";

BytePairVocabulary Vocabulary() {
  auto vocabulary = TrainBytePairs(kText, 290, {" ;", " ?", " ."});
  EXPECT_OK(vocabulary);
  return *vocabulary;
}

TEST(BytePairTrainerTest, TheMostFrequentPairComesFirst) {
  ASSERT_OK_AND_ASSIGN(const BytePairVocabulary vocabulary,
                       TrainBytePairs("abab abab ab", 260, {}));
  // Then no pair is left that occurs twice.
  ASSERT_EQ(vocabulary.merges.size(), 2u);
  EXPECT_EQ(TokenBytes(vocabulary, kFirstMergeId), "ab");
  // " " + "ab" and "ab" + "ab" both occur twice: smaller ids win.
  EXPECT_EQ(TokenBytes(vocabulary, kFirstMergeId + 1), " ab");
}

TEST(BytePairTrainerTest, ForcedPiecesAreTokens) {
  const BytePairVocabulary vocabulary = Vocabulary();
  EXPECT_EQ(TokenBytes(vocabulary, kFirstMergeId), " ;");
  EXPECT_EQ(TokenBytes(vocabulary, kFirstMergeId + 1), " ?");
  EXPECT_EQ(TokenBytes(vocabulary, kFirstMergeId + 2), " .");
}

TEST(BytePairTrainerTest, TheSameTextGivesTheSameMerges) {
  EXPECT_EQ(Vocabulary().merges, Vocabulary().merges);
}

TEST(BytePairTrainerTest, ASizeBelowTheBytesIsRefused) {
  EXPECT_THAT(TrainBytePairs(kText, 256, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("256")));
}

TEST(TokenizerJsonTest, NamesEveryTokenOnce) {
  const BytePairVocabulary vocabulary = Vocabulary();
  const nlohmann::json json = nlohmann::json::parse(TokenizerJson(vocabulary));
  EXPECT_EQ(json["model"]["type"], "BPE");
  EXPECT_EQ(json["pre_tokenizer"]["type"], "ByteLevel");
  EXPECT_EQ(json["model"]["vocab"].size(), static_cast<size_t>(vocabulary.size()));
  EXPECT_EQ(json["model"]["vocab"]["\u0120;"], kFirstMergeId);
  EXPECT_EQ(json["model"]["vocab"]["\u010a"], kFirstByteId + '\n');
  EXPECT_EQ(json["model"]["merges"].size(), vocabulary.merges.size());
  EXPECT_EQ(json["model"]["merges"][0], "\u0120 ;");
}

TEST(TokenizerJsonTest, TheTokenizerEncodesTheTextInThisVocabulary) {
  const BytePairVocabulary vocabulary = Vocabulary();
  ASSERT_OK_AND_ASSIGN(const auto tokenizer,
                       Tokenizer::Parse(TokenizerJson(vocabulary), "trained"));
  EXPECT_EQ(tokenizer->vocab_size(), vocabulary.size());
  const std::vector<int32_t> ids = tokenizer->Encode(kText);
  std::string spelled;
  for (int32_t id : ids) spelled += TokenBytes(vocabulary, id);
  EXPECT_EQ(spelled, kText);
  // The merges are used.
  EXPECT_LT(ids.size(), std::string(kText).size() * 3 / 4);
  EXPECT_THAT(tokenizer->Encode(" ;"), ElementsAre(kFirstMergeId));
}

// As GPT-2's expression splits: no merge goes across.
TEST(BytePairTrainerTest, NoTokenLiesAcrossTwoPieces) {
  ASSERT_OK_AND_ASSIGN(const BytePairVocabulary vocabulary,
                       TrainBytePairs("it's 27a. it's 27a. it's 27a. it's 27a.", 400, {}));
  std::vector<std::string> merged;
  for (int id = kFirstMergeId; id < vocabulary.size(); ++id) {
    merged.push_back(TokenBytes(vocabulary, id));
  }
  EXPECT_THAT(merged, UnorderedElementsAre("it", "'s", " 2", " 27", " it"));
}

}  // namespace
}  // namespace kvp

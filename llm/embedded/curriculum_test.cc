#include "llm/embedded/curriculum.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "llm/embedded/byte_pair_trainer.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

// A novel of 400 words of three letters; nearly all of them become tokens.
std::string Novel() {
  SplitMix64 random(7);
  std::vector<std::string> words(400);
  for (std::string& word : words) {
    for (int i = 0; i < 3; ++i) word += static_cast<char>('a' + random.Below(26));
  }
  std::string text;
  for (int sentence = 0; sentence < 1500; ++sentence) {
    text += "It";
    for (int i = 0; i < 8; ++i) absl::StrAppend(&text, " ", words[random.Below(words.size())]);
    text += sentence % 10 == 9 ? ".\n" : ". ";
  }
  return text;
}

class CurriculumTest : public testing::Test {
 protected:
  // The vocabulary takes a while to train.
  static void SetUpTestSuite() {
    const std::string novel = Novel();
    ASSERT_OK_AND_ASSIGN(const BytePairVocabulary vocabulary,
                         TrainBytePairs(novel, 1200, {" ;", " ?", " ."}));
    ASSERT_OK_AND_ASSIGN(auto tokenizer, Tokenizer::Parse(TokenizerJson(vocabulary), "trained"));
    tokenizer_ = tokenizer.release();
    ASSERT_OK_AND_ASSIGN(Curriculum curriculum, Curriculum::Create({novel}, *tokenizer_, 1));
    curriculum_ = new Curriculum(std::move(curriculum));
  }

  static void TearDownTestSuite() {
    delete curriculum_;
    delete tokenizer_;
  }

  static Tokenizer* tokenizer_;
  static Curriculum* curriculum_;
};

Tokenizer* CurriculumTest::tokenizer_ = nullptr;
Curriculum* CurriculumTest::curriculum_ = nullptr;

TEST_F(CurriculumTest, EveryStageMakesItsBatch) {
  for (CurriculumStage stage : EmbeddedCurriculum()) {
    // The novel has too few words for the longest contexts' needles.
    stage.needles = std::min(stage.needles, 12);
    stage.context_tokens = std::min(stage.context_tokens, 256);
    ASSERT_OK_AND_ASSIGN(const std::vector<TrainingSequence> batch,
                         curriculum_->MakeBatch(stage, 17));
    int tokens = 0;
    for (const TrainingSequence& sequence : batch) {
      ASSERT_EQ(sequence.tokens.size(), sequence.kinds.size());
      EXPECT_EQ(sequence.kinds.back(), TargetKind::kIgnored);
      tokens += sequence.tokens.size();
    }
    EXPECT_LE(tokens, stage.batch_tokens) << stage.name;
    EXPECT_GT(tokens, stage.batch_tokens / 2) << stage.name;
  }
}

TEST_F(CurriculumTest, BatchesDependOnTheStepAlone) {
  const CurriculumStage stage = EmbeddedCurriculum()[1];
  ASSERT_OK_AND_ASSIGN(const auto a, curriculum_->MakeBatch(stage, 5));
  ASSERT_OK_AND_ASSIGN(const auto b, curriculum_->MakeBatch(stage, 6));
  ASSERT_OK_AND_ASSIGN(const auto c, curriculum_->MakeBatch(stage, 5));
  EXPECT_EQ(a[0].tokens, c[0].tokens);
  EXPECT_EQ(a.back().tokens, c.back().tokens);
  EXPECT_NE(a[0].tokens, b[0].tokens);
}

TEST_F(CurriculumTest, CopiesArePredictable) {
  ASSERT_OK_AND_ASSIGN(const auto batch, curriculum_->MakeBatch(EmbeddedCurriculum()[0], 1));
  int copies = 0;
  for (const TrainingSequence& sequence : batch) {
    for (size_t t = 0; t + 1 < sequence.tokens.size(); ++t) {
      if (sequence.kinds[t] != TargetKind::kCopy) continue;
      ++copies;
      // The next token followed an earlier occurrence of this one.
      bool found = false;
      for (size_t u = 0; u < t; ++u) {
        found = found || (sequence.tokens[u] == sequence.tokens[t] &&
                          sequence.tokens[u + 1] == sequence.tokens[t + 1]);
      }
      EXPECT_TRUE(found) << t;
    }
  }
  EXPECT_GT(copies, 1000);
}

TEST_F(CurriculumTest, ATasksAnswersAreItsAnswers) {
  RetrievalTask task;
  task.context = " It abc. ; key value . It xyz.";
  task.questions = {{" ? key", " value"}};
  const TrainingSequence sequence = SequenceFromTask(task, *tokenizer_);
  EXPECT_EQ(sequence.tokens, tokenizer_->Encode(task.FullText()));
  int text = 0, answers = 0;
  for (size_t t = 0; t + 1 < sequence.tokens.size(); ++t) {
    if (sequence.kinds[t] == TargetKind::kAnswer) ++answers;
    if (sequence.kinds[t] == TargetKind::kText) ++text;
  }
  EXPECT_EQ(static_cast<size_t>(answers), tokenizer_->Encode(" value").size());
  // All of the filler but its first token.
  EXPECT_EQ(static_cast<size_t>(text),
            tokenizer_->Encode(" It abc.").size() + tokenizer_->Encode(" It xyz.").size() - 1);
}

}  // namespace
}  // namespace kvp

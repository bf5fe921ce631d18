// What the shipped model is for, checked with the decoder and tokenizer that everything else uses.

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "llm/decoder.h"
#include "llm/embedded/retrieval_task.h"
#include "llm/model_config.h"
#include "llm/tokenizer.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

constexpr char kModel[] = "llm/embedded/model";
constexpr char kHeldOutText[] = "llm/embedded/text/held_out.txt";

class EmbeddedModelTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(kModel, Decoder::Options()));
    ASSERT_OK_AND_ASSIGN(tokenizer_, Tokenizer::Load(std::string(kModel) + "/tokenizer.json"));
    ASSERT_OK_AND_ASSIGN(held_out_, ReadFile(kHeldOutText));
  }

  // Logits of every position, [tokens, vocabulary].
  at::Tensor Logits(const std::vector<int32_t>& tokens) {
    KvCache cache = decoder_->NewCache();
    Decoder::ForwardOptions options;
    options.logits = Decoder::Logits::kAll;
    auto logits = decoder_->Forward(tokens, cache, options);
    EXPECT_OK(logits);
    return *logits;
  }

  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string held_out_;
};

TEST_F(EmbeddedModelTest, IsWhatItsUsersNeed) {
  const ModelConfig& config = decoder_->config();
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_GE(config.head_dim, 32);
  EXPECT_GE(config.max_positions, 1024);
  EXPECT_GT(config.query_group(), 1);
  EXPECT_EQ(config.vocab_size, tokenizer_->vocab_size());
  ASSERT_OK_AND_ASSIGN(const std::string weights,
                       ReadFile(std::string(kModel) + "/model.safetensors"));
  EXPECT_LE(weights.size(), size_t{16} << 20);
}

TEST_F(EmbeddedModelTest, RecallsNeedlesFromHeldOutText) {
  ASSERT_OK_AND_ASSIGN(const RetrievalTaskGenerator generator,
                       RetrievalTaskGenerator::Create(held_out_, [this](absl::string_view text) {
                         return tokenizer_->Encode(text).size();
                       }));
  int right = 0, asked = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    ASSERT_OK_AND_ASSIGN(const RetrievalTask task, generator.Generate(RetrievalOptions(), seed));
    std::vector<int32_t> tokens = tokenizer_->Encode(task.context);
    EXPECT_LE(tokens.size(), 960u);
    std::vector<size_t> answers;
    for (const RetrievalTask::Question& question : task.questions) {
      for (int32_t token : tokenizer_->Encode(question.question)) tokens.push_back(token);
      const std::vector<int32_t> answer = tokenizer_->Encode(question.answer);
      ASSERT_EQ(answer.size(), 1u) << question.answer;
      answers.push_back(tokens.size());
      tokens.push_back(answer[0]);
    }
    // The pieces' tokens are the whole's.
    EXPECT_EQ(tokenizer_->Encode(task.FullText()), tokens);
    const at::Tensor logits = Logits(tokens);
    for (size_t position : answers) {
      ++asked;
      right += logits[position - 1].argmax().item<int64_t>() == tokens[position];
    }
  }
  EXPECT_GE(right, 0.95 * asked) << right << " of " << asked;
}

TEST_F(EmbeddedModelTest, PredictsHeldOutTextBetterThanBigrams) {
  // What the Kneser-Ney bigram model of bigram_model.h takes on this stretch of the novel; on all
  // of it, 4.48.
  constexpr double kBigramNats = 4.46;
  std::vector<int32_t> tokens = tokenizer_->Encode(held_out_.substr(100000, 20000));
  double nats = 0;
  int64_t predicted = 0;
  for (size_t begin = 0; begin + 1024 <= tokens.size(); begin += 1024) {
    const std::vector<int32_t> window(tokens.begin() + begin, tokens.begin() + begin + 1024);
    const at::Tensor log_probabilities = Logits(window).log_softmax(-1);
    for (size_t t = 0; t + 1 < window.size(); ++t, ++predicted) {
      nats -= log_probabilities[t][window[t + 1]].item<double>();
    }
  }
  ASSERT_GT(predicted, 4000);
  EXPECT_LT(nats / predicted, kBigramNats - 0.2);
}

}  // namespace
}  // namespace kvp

#include "llm/sampling.h"

#include <cmath>
#include <limits>

#include "ATen/ops/empty.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

at::Tensor LogitsOf(const std::vector<float>& values) {
  at::Tensor logits =
      at::empty({static_cast<int64_t>(values.size())}, at::TensorOptions().dtype(at::kFloat));
  std::copy(values.begin(), values.end(), logits.data_ptr<float>());
  return logits;
}

// How often each token comes in `draws` draws.
std::vector<int> Counts(const std::vector<float>& logits, const SamplingOptions& options,
                        int draws) {
  std::mt19937_64 random(options.seed);
  std::vector<int> counts(logits.size());
  const at::Tensor tensor = LogitsOf(logits);
  for (int i = 0; i < draws; ++i) ++counts[SampleToken(tensor, options, random)];
  return counts;
}

TEST(SampleTokenTest, GreedyTakesTheLargestAndTheFirstOfEquals) {
  std::mt19937_64 random(0);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(SampleToken(LogitsOf({1, 3, 2}), {}, random), 1);
  EXPECT_EQ(SampleToken(LogitsOf({1, 3, 2, 3}), {}, random), 1);
  EXPECT_EQ(SampleToken(LogitsOf({nan, -1, nan}), {}, random), 1);
}

TEST(SampleTokenTest, FollowsTheSoftmax) {
  SamplingOptions options;
  options.temperature = 0.5;
  const std::vector<float> logits = {0, 0.5f, 1, -1};
  constexpr int kDraws = 20000;
  const std::vector<int> counts = Counts(logits, options, kDraws);
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit / 0.5);
  for (size_t i = 0; i < logits.size(); ++i) {
    const double expected = std::exp(logits[i] / 0.5) / sum;
    const double deviation = std::sqrt(expected * (1 - expected) / kDraws);
    EXPECT_NEAR(counts[i] / static_cast<double>(kDraws), expected, 4 * deviation) << i;
  }
}

TEST(SampleTokenTest, TopKDrawsOnlyTheLikeliest) {
  SamplingOptions options;
  options.temperature = 1;
  options.top_k = 2;
  const std::vector<int> counts = Counts({1, 1.5f, 1.2f, 0}, options, 2000);
  EXPECT_EQ(counts[0], 0);
  EXPECT_EQ(counts[3], 0);
  EXPECT_GT(counts[1], counts[2]);
  EXPECT_GT(counts[2], 500);
}

TEST(SampleTokenTest, TopPDrawsTheFewestThatSumToIt) {
  SamplingOptions options;
  options.temperature = 1;
  options.top_p = 0.75;
  // Probabilities 0.1, 0.5, 0.1, 0.3: the two likeliest are 0.8.
  const std::vector<int> counts =
      Counts({std::log(1.f), std::log(5.f), std::log(1.f), std::log(3.f)}, options, 2000);
  EXPECT_EQ(counts[0], 0);
  EXPECT_EQ(counts[2], 0);
  EXPECT_NEAR(counts[1] / 2000.0, 0.625, 0.05);
}

TEST(SampleTokenTest, TheSameSeedGivesTheSameTokens) {
  SamplingOptions options;
  options.temperature = 1;
  options.seed = 7;
  const std::vector<float> logits(50, 0);
  EXPECT_EQ(Counts(logits, options, 20), Counts(logits, options, 20));
  SamplingOptions other = options;
  other.seed = 8;
  EXPECT_NE(Counts(logits, options, 20), Counts(logits, other, 20));
}

TEST(SamplingOptionsTest, NamesImpossibleValues) {
  SamplingOptions options;
  EXPECT_OK(options.Validate());
  const auto invalid = absl::StatusCode::kInvalidArgument;
  options.temperature = -0.5;
  EXPECT_THAT(options.Validate(),
              StatusIs(invalid, AllOf(HasSubstr("temperature"), HasSubstr("-0.5"))));
  options.temperature = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(options.Validate(), StatusIs(invalid, HasSubstr("temperature")));
  options.temperature = 1;
  options.top_k = -2;
  EXPECT_THAT(options.Validate(), StatusIs(invalid, AllOf(HasSubstr("top_k"), HasSubstr("-2"))));
  options.top_k = 0;
  options.top_p = 0;
  EXPECT_THAT(options.Validate(), StatusIs(invalid, AllOf(HasSubstr("top_p"), HasSubstr("0"))));
}

class GenerateTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = testing::TempDir() + "/generate_test";
    ASSERT_OK(WriteTinyModel(directory));
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(directory, {}));
  }

  std::unique_ptr<Decoder> decoder_;
};

TEST_F(GenerateTest, GreedyTokensAreThoseOfForwardAndAreInTheCache) {
  const std::vector<int32_t> prompt = {5, 6, 7};
  KvCache cache = decoder_->NewCache();
  ASSERT_OK_AND_ASSIGN(const at::Tensor logits, decoder_->Forward(prompt, cache, {}));
  std::vector<int32_t> seen;
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> tokens,
                       Generate(*decoder_, cache, logits[0], 6, {}, {},
                                [&](int32_t token) { seen.push_back(token); }));
  EXPECT_EQ(tokens.size(), 6);
  EXPECT_EQ(seen, tokens);
  EXPECT_EQ(cache.next_position(), 9);
  std::vector<int32_t> sequence = prompt;
  for (int32_t token : tokens) {
    KvCache fresh = decoder_->NewCache();
    ASSERT_OK_AND_ASSIGN(const at::Tensor last, decoder_->Forward(sequence, fresh, {}));
    EXPECT_EQ(last[0].argmax().item<int64_t>(), token);
    sequence.push_back(token);
  }
}

TEST_F(GenerateTest, StopsAtTheEndTokenWithoutReturningIt) {
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(decoder_->Forward({5}, cache, {}));
  std::vector<float> logits(300, 0);
  logits[0] = 9;  // eos_token_id
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> tokens,
                       Generate(*decoder_, cache, LogitsOf(logits), 6, {}));
  EXPECT_THAT(tokens, ElementsAre());
  EXPECT_EQ(cache.next_position(), 1);
}

TEST_F(GenerateTest, RefusesLogitsOfAnotherShape) {
  KvCache cache = decoder_->NewCache();
  ASSERT_OK_AND_ASSIGN(const at::Tensor logits, decoder_->Forward({5}, cache, {}));
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Generate(*decoder_, cache, logits, 1, {}), StatusIs(invalid, HasSubstr("[1, 300]")));
  EXPECT_THAT(Generate(*decoder_, cache, at::Tensor(), 1, {}),
              StatusIs(invalid, HasSubstr("undefined")));
  EXPECT_THAT(Generate(*decoder_, cache, logits[0], -1, {}),
              StatusIs(invalid, HasSubstr("max_new_tokens")));
}

}  // namespace
}  // namespace kvp

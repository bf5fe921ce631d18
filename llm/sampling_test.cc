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

// What a batch of four prompts generates, or, one after the other, each of them alone.
std::vector<std::vector<int32_t>> GenerateAll(const Decoder& decoder,
                                              const SamplingOptions& options, bool together) {
  const std::vector<std::vector<int32_t>> prompts = {
      {5}, {9, 8, 7, 6, 5, 4, 3}, {5}, {200, 100, 50}};
  const std::vector<int64_t> lengths = {12, 3, 0, 8};
  std::vector<KvCache> caches(prompts.size(), decoder.NewCache());
  std::vector<GenerationSequence> sequences;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const absl::StatusOr<at::Tensor> logits = decoder.Forward(prompts[i], caches[i], {});
    EXPECT_OK(logits);
    sequences.push_back({&caches[i], (*logits)[0], lengths[i], 70 + i, nullptr});
  }
  std::vector<std::vector<int32_t>> tokens;
  const size_t size = together ? sequences.size() : 1;
  for (size_t first = 0; first < sequences.size(); first += size) {
    absl::StatusOr<std::vector<std::vector<int32_t>>> part =
        GenerateBatch(decoder, absl::MakeSpan(sequences).subspan(first, size), options);
    EXPECT_OK(part);
    for (std::vector<int32_t>& own : *part) tokens.push_back(std::move(own));
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(caches[i].next_position(), prompts[i].size() + tokens[i].size());
  }
  return tokens;
}

class GenerateBatchTest : public testing::TestWithParam<size_t> {};

TEST_P(GenerateBatchTest, GivesEachSequenceWhatItGetsAlone) {
  const TinyFamily family = TinyFamilies()[GetParam()];
  const std::string directory = testing::TempDir() + "/generate_batch_" + family.name;
  ASSERT_OK(WriteTinyModel(directory, family.options));
  ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load(directory, {}));
  SamplingOptions sampled;
  sampled.temperature = 1.5;
  std::vector<std::vector<int32_t>> greedy;
  for (const SamplingOptions& options : {SamplingOptions(), sampled}) {
    const auto alone = GenerateAll(*decoder, options, /*together=*/false);
    EXPECT_EQ(GenerateAll(*decoder, options, /*together=*/true), alone);
    EXPECT_THAT(alone[2], ElementsAre());
    EXPECT_NE(alone, greedy);
    greedy = alone;
  }
  EXPECT_FALSE(greedy[0].empty());
}

INSTANTIATE_TEST_SUITE_P(Families, GenerateBatchTest,
                         testing::Range<size_t>(0, TinyFamilies().size()),
                         [](const auto& info) { return TinyFamilies()[info.param].name; });

TEST_F(GenerateTest, ASequenceThatEndsLeavesTheBatch) {
  std::vector<KvCache> caches(2, decoder_->NewCache());
  std::vector<GenerationSequence> sequences(2);
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(const at::Tensor logits, decoder_->Forward({5}, caches[i], {}));
    sequences[i] = {&caches[i], logits[0], 4, 0, nullptr};
  }
  std::vector<float> end(300, 0);
  end[0] = 9;  // eos_token_id
  sequences[0].logits = LogitsOf(end);
  std::vector<size_t> seen;
  ASSERT_OK_AND_ASSIGN(const auto tokens,
                       GenerateBatch(*decoder_, absl::MakeSpan(sequences), {}, {},
                                     [&](size_t sequence, int32_t) { seen.push_back(sequence); }));
  EXPECT_THAT(tokens[0], ElementsAre());
  EXPECT_EQ(tokens[1].size(), 4);
  EXPECT_THAT(seen, ElementsAre(1, 1, 1, 1));
  EXPECT_EQ(caches[0].next_position(), 1);
  EXPECT_EQ(caches[1].next_position(), 5);
}

TEST_F(GenerateTest, NamesTheSequenceThatItRefuses) {
  KvCache cache = decoder_->NewCache();
  ASSERT_OK_AND_ASSIGN(const at::Tensor logits, decoder_->Forward({5}, cache, {}));
  std::vector<GenerationSequence> sequences(2, {&cache, logits[0], 1, 0, nullptr});
  sequences[1].max_new_tokens = -3;
  EXPECT_THAT(GenerateBatch(*decoder_, absl::MakeSpan(sequences), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("sequence 1"), HasSubstr("-3"))));
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

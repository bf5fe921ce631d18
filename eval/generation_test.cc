#include "eval/generation.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "ATen/ops/allclose.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

// TinyModelOptions' defaults.
constexpr int64_t kLayers = 2;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kHeadDim = 16;

using testing::HasSubstr;

class GenerationTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = testing::TempDir() + "/tiny_generation";
    ASSERT_OK(WriteTinyModel(directory));
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(directory, {}));
    for (int32_t i = 0; i < 65; ++i) prompt_.push_back((i * 37) % 256);
    policy_ = *MakePolicy("key_diff");
    options_.max_new_tokens = 8;
  }

  std::unique_ptr<Decoder> decoder_;
  std::vector<int32_t> prompt_;
  std::unique_ptr<Policy> policy_;
  GenerationOptions options_;
};

TEST_F(GenerationTest, WithoutAPolicyItIsTheModelsOwnContinuation) {
  KvCache cache = decoder_->NewCache();
  ASSERT_OK_AND_ASSIGN(const at::Tensor logits, decoder_->Forward(prompt_, cache, {}));
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> expected,
                       Generate(*decoder_, cache, logits[0], 8, {}));
  ASSERT_OK_AND_ASSIGN(const Generation generation,
                       GenerateCompressed(*decoder_, prompt_, nullptr, options_));
  EXPECT_EQ(generation.tokens, expected);
  EXPECT_EQ(generation.cache_bytes, generation.full_cache_bytes);
  options_.budget = 1;
  ASSERT_OK_AND_ASSIGN(const Generation whole,
                       GenerateCompressed(*decoder_, prompt_, policy_.get(), options_));
  EXPECT_EQ(whole.tokens, expected);
}

TEST_F(GenerationTest, ACompressedCacheIsUsedFromTheFirstTokenOn) {
  options_.budget = 0.375;
  options_.prompt_logits = true;
  std::vector<int32_t> seen;
  options_.on_token = [&seen](int32_t token) { seen.push_back(token); };
  ASSERT_OK_AND_ASSIGN(const Generation generation,
                       GenerateCompressed(*decoder_, prompt_, policy_.get(), options_));
  EXPECT_EQ(generation.tokens, seen);
  // 24 of the 64 entries that all but the last token made.
  EXPECT_EQ(generation.cache_bytes * 64, generation.full_cache_bytes * 24);
  EXPECT_EQ(generation.full_cache_bytes,
            64 * kLayers * kKvHeads * kHeadDim * 2 * int64_t{sizeof(float)});

  KvCache cache = decoder_->NewCache();
  const std::vector<int32_t> context(prompt_.begin(), prompt_.end() - 1);
  Decoder::ForwardOptions all;
  all.logits = Decoder::Logits::kAll;
  ASSERT_OK_AND_ASSIGN(const at::Tensor before, decoder_->Forward(context, cache, all));
  PolicyInput input;
  for (int32_t head = 0; head < kLayers * kKvHeads; ++head) {
    const int64_t layer = head / kKvHeads;
    const int64_t kv_head = head % kKvHeads;
    input.heads = {HeadId::FromIndex(head, kKvHeads)};
    input.keys = cache.keys(layer, kv_head).unsqueeze(0).clone();
    input.values = cache.values(layer, kv_head).unsqueeze(0).clone();
    input.positions = cache.positions(layer, kv_head);
    ASSERT_OK_AND_ASSIGN(const at::Tensor scores, policy_->Score(input));
    ASSERT_OK_AND_ASSIGN(const at::Tensor kept, SelectKept(scores, 24, ProtectedTokens{}));
    ASSERT_OK(cache.Keep(layer, kv_head, kept[0]));
  }
  ASSERT_OK_AND_ASSIGN(const at::Tensor last, decoder_->Forward({prompt_.back()}, cache, {}));
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> expected,
                       Generate(*decoder_, cache, last[0], 8, {}));
  EXPECT_EQ(generation.tokens, expected);
  ASSERT_EQ(generation.prompt_logits.size(0), 65);
  EXPECT_TRUE(at::allclose(generation.prompt_logits.narrow(0, 0, 64), before, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(generation.prompt_logits[64], last[0], 1e-4, 1e-4));
}

TEST_F(GenerationTest, TheSameSeedSamplesTheSame) {
  options_.sampling.temperature = 1;
  options_.sampling.seed = 3;
  options_.max_new_tokens = 16;
  ASSERT_OK_AND_ASSIGN(const Generation first,
                       GenerateCompressed(*decoder_, prompt_, nullptr, options_));
  ASSERT_OK_AND_ASSIGN(const Generation again,
                       GenerateCompressed(*decoder_, prompt_, nullptr, options_));
  EXPECT_EQ(first.tokens, again.tokens);
  options_.sampling.seed = 4;
  ASSERT_OK_AND_ASSIGN(const Generation other,
                       GenerateCompressed(*decoder_, prompt_, nullptr, options_));
  EXPECT_NE(first.tokens, other.tokens);
}

TEST_F(GenerationTest, APromptOfOneTokenHasNothingToCompress) {
  options_.budget = 0.25;
  ASSERT_OK_AND_ASSIGN(const Generation generation,
                       GenerateCompressed(*decoder_, {42}, policy_.get(), options_));
  EXPECT_EQ(generation.cache_bytes, generation.full_cache_bytes);
}

TEST_F(GenerationTest, EveryPolicyCompressesToTheSameNumberOfBytes) {
  options_.budget = 0.25;
  options_.replay_prompt = {1, 2, 3};
  for (const PolicyInfo& info : Policies()) {
    for (const std::string& name : {info.name, "ada:" + info.name}) {
      if (!info.file.empty() || info.importance || !FindPolicy(name).ok()) continue;
      ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy(name));
      ASSERT_OK_AND_ASSIGN(const Generation generation,
                           GenerateCompressed(*decoder_, prompt_, policy.get(), options_));
      EXPECT_EQ(generation.cache_bytes * 4, generation.full_cache_bytes) << name;
      EXPECT_FALSE(generation.tokens.empty()) << name;
    }
  }
}

TEST_F(GenerationTest, WithinABudgetThatHoldsEverythingItIsTheModelsOwnContinuation) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("k_norm"));
  ASSERT_OK_AND_ASSIGN(const Generation expected,
                       GenerateCompressed(*decoder_, prompt_, nullptr, options_));
  options_.budget_tokens = 100;
  options_.chunk_tokens = 20;
  ASSERT_OK_AND_ASSIGN(const Generation generation,
                       GenerateWithinBudget(*decoder_, prompt_, *policy, options_));
  EXPECT_EQ(generation.tokens, expected.tokens);
  EXPECT_EQ(generation.full_cache_bytes, expected.full_cache_bytes);
}

TEST_F(GenerationTest, WithinABudgetEntriesLeaveBehindEveryChunkAndToken) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("streaming_llm"));
  options_.budget_tokens = 24;
  options_.chunk_tokens = 20;
  options_.prompt_logits = true;
  options_.max_new_tokens = 30;
  ASSERT_OK_AND_ASSIGN(const Generation generation,
                       GenerateWithinBudget(*decoder_, prompt_, *policy, options_));
  // The first 4 entries and the last 20, by hand.
  KvCache cache = decoder_->NewCache();
  const auto run = [&](const std::vector<int32_t>& tokens) {
    Decoder::ForwardOptions all;
    all.logits = Decoder::Logits::kAll;
    const at::Tensor logits = *decoder_->Forward(tokens, cache, all);
    for (int64_t row = 0; row < kLayers * kKvHeads; ++row) {
      std::vector<int64_t> kept;
      const int64_t length = cache.length(row / kKvHeads, row % kKvHeads);
      for (int64_t i = 0; i < length; ++i) {
        if (i < 4 || i >= length - 20) kept.push_back(i);
      }
      EXPECT_OK(cache.Keep(row / kKvHeads, row % kKvHeads, at::tensor(kept, at::kLong)));
    }
    return logits;
  };
  std::vector<at::Tensor> prompt_logits;
  for (size_t first = 0; first < prompt_.size(); first += 20) {
    const auto begin = prompt_.begin() + static_cast<int64_t>(first);
    const auto end = prompt_.begin() + static_cast<int64_t>(std::min(prompt_.size(), first + 20));
    prompt_logits.push_back(run(std::vector<int32_t>(begin, end)));
  }
  EXPECT_TRUE(at::allclose(generation.prompt_logits, at::cat(prompt_logits), 1e-4, 1e-4));
  std::vector<int32_t> tokens;
  at::Tensor last = generation.prompt_logits[64];
  for (size_t i = 0; i < generation.tokens.size(); ++i) {
    tokens.push_back(static_cast<int32_t>(last.argmax().item<int64_t>()));
    last = run({tokens.back()})[0];
  }
  EXPECT_EQ(generation.tokens, tokens);
  EXPECT_GE(generation.tokens.size(), 20);
  EXPECT_EQ(generation.cache_bytes * 65, generation.full_cache_bytes * 24);
}

TEST_F(GenerationTest, WithinABudgetOnlyPoliciesThatScoreOnceCanRun) {
  options_.budget_tokens = 24;
  EXPECT_THAT(GenerateWithinBudget(*decoder_, prompt_, *policy_, options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("key_diff")));
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("random"));
  EXPECT_THAT(GenerateWithinBudget(*decoder_, {}, *policy, options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no tokens")));
  options_.chunk_tokens = 0;
  EXPECT_THAT(GenerateWithinBudget(*decoder_, prompt_, *policy, options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("chunk_tokens is 0")));
}

TEST_F(GenerationTest, RefusesWhatItCantRun) {
  EXPECT_THAT(GenerateCompressed(*decoder_, {}, nullptr, options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no tokens")));
  options_.budget = 0.5;
  EXPECT_THAT(GenerateCompressed(*decoder_, prompt_, nullptr, options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("policy")));
  options_.budget = 2;
  EXPECT_THAT(GenerateCompressed(*decoder_, prompt_, policy_.get(), options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("budget 2")));
}

}  // namespace
}  // namespace kvp

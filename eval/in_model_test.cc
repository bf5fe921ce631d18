#include "eval/in_model.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "ATen/ops/log_softmax.h"
#include "eval/compression.h"
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

constexpr int64_t kContext = 64;

class InModelTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = testing::TempDir() + "/tiny_in_model";
    ASSERT_OK(WriteTinyModel(directory));
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(directory, {}));
    std::mt19937_64 random(9);
    const auto tokens = [&random](int64_t count, int32_t first, int32_t end) {
      std::vector<int32_t> result;
      for (int64_t i = 0; i < count; ++i) {
        result.push_back(first + static_cast<int32_t>(random() % (end - first)));
      }
      return result;
    };
    for (int32_t i = 0; i < 4; ++i) {
      EvaluationPrompt prompt;
      prompt.task = i % 2 == 0 ? "even" : "odd";
      prompt.context = tokens(kContext, 0, 200);
      prompt.questions = {{tokens(2, 200, 230), 230}, {tokens(3, 200, 230), 231 + i}};
      prompt.sequence_seed = i;
      prompts_.push_back(prompt);
      windows_.push_back({tokens(kContext, 0, 256), tokens(9, 0, 256), uint64_t(i)});
    }
    for (const char* name : {"oracle", "random", "streaming_llm", "k_norm", "key_diff"}) {
      owned_.push_back(*MakePolicy(name));
      policies_.push_back(owned_.back().get());
    }
    options_.timed_sequences = 0;
  }

  std::unique_ptr<Decoder> decoder_;
  std::vector<EvaluationPrompt> prompts_;
  std::vector<TextWindow> windows_;
  std::vector<std::unique_ptr<Policy>> owned_;
  std::vector<const Policy*> policies_;
  InModelOptions options_;
};

TEST_F(InModelTest, KeepingEverythingIsTheWholeCacheExactly) {
  options_.budgets = {1};
  ASSERT_OK_AND_ASSIGN(const InModelResults results,
                       EvaluateInModel(*decoder_, prompts_, windows_, policies_, options_));
  ASSERT_EQ(results.policies.size(), policies_.size());
  for (const auto& [name, cells] : results.policies) {
    const CacheResult& cell = cells.at(1);
    EXPECT_EQ(cell.correct, results.full_cache.correct) << name;
    EXPECT_EQ(cell.nats_per_token, results.full_cache.nats_per_token) << name;
    EXPECT_EQ(cell.cache_bytes, results.full_cache.cache_bytes) << name;
  }
}

TEST_F(InModelTest, TheCacheHoldsTheBudgetsShareOfBytes) {
  options_.budgets = {0.5, 0.25};
  ASSERT_OK_AND_ASSIGN(const InModelResults results,
                       EvaluateInModel(*decoder_, prompts_, {}, policies_, options_));
  const double entry_bytes = 2 * kHeadDim * sizeof(float) * kLayers * kKvHeads;
  EXPECT_DOUBLE_EQ(results.full_cache.cache_bytes, kContext * entry_bytes);
  for (const auto& [name, cells] : results.policies) {
    EXPECT_DOUBLE_EQ(cells.at(0.5).cache_bytes, kContext / 2 * entry_bytes) << name;
    EXPECT_DOUBLE_EQ(cells.at(0.25).cache_bytes, kContext / 4 * entry_bytes) << name;
    EXPECT_DOUBLE_EQ(cells.at(0.25).cache_share, 0.25) << name;
  }
}

TEST_F(InModelTest, AgreesWithTheProtocolDoneByHandTokenByToken) {
  options_.budgets = {0.375};
  ASSERT_OK_AND_ASSIGN(const InModelResults results,
                       EvaluateInModel(*decoder_, prompts_, windows_, {policies_[4]}, options_));

  const auto compressed = [&](const std::vector<int32_t>& context, uint64_t seed) {
    KvCache cache = decoder_->NewCache();
    EXPECT_OK(decoder_->Forward(context, cache, {}));
    const at::Tensor scores = *policies_[4]->Score(*InputOfCache(cache, seed));
    for (int64_t head = 0; head < kLayers * kKvHeads; ++head) {
      const at::Tensor kept = *SelectKept(scores[head].unsqueeze(0), 24, ProtectedTokens{4, 16});
      EXPECT_OK(cache.Keep(head / kKvHeads, head % kKvHeads, kept[0]));
    }
    return cache;
  };
  int64_t correct = 0;
  for (const EvaluationPrompt& prompt : prompts_) {
    KvCache cache = compressed(prompt.context, prompt.sequence_seed);
    for (const EvaluationPrompt::Question& question : prompt.questions) {
      at::Tensor logits;
      for (int32_t token : question.tokens) logits = *decoder_->Forward({token}, cache, {});
      correct += logits.argmax().item<int64_t>() == question.answer;
      EXPECT_OK(decoder_->Forward({question.answer}, cache, {}));
    }
  }
  double nats = 0;
  for (const TextWindow& window : windows_) {
    KvCache cache = compressed(window.context, window.sequence_seed);
    for (size_t i = 0; i + 1 < window.continuation.size(); ++i) {
      const at::Tensor logits = *decoder_->Forward({window.continuation[i]}, cache, {});
      nats -= at::log_softmax(logits, 1)[0][window.continuation[i + 1]].item<double>();
    }
  }
  const CacheResult& cell = results.policies[0].second.at(0.375);
  EXPECT_EQ(cell.correct, correct);
  EXPECT_EQ(cell.questions, 8);
  EXPECT_EQ(cell.perplexity_tokens, 4 * 8);
  EXPECT_NEAR(cell.nats_per_token, nats / 32, 1e-5);
  EXPECT_NEAR(cell.perplexity, std::exp(nats / 32), 1e-3);
}

TEST_F(InModelTest, EveryPolicyKeepsTheBudgetsShare) {
  owned_.clear();
  policies_.clear();
  for (const PolicyInfo& info : Policies()) {
    if (info.file.empty()) owned_.push_back(*MakePolicy(info.name));
  }
  owned_.push_back(*MakePolicy("ada:snap_kv"));
  for (const auto& policy : owned_) policies_.push_back(policy.get());
  options_.budgets = {1, 0.5, 0.125};
  options_.replay_prompt = {5, 6};
  options_.timed_sequences = 1;
  ASSERT_OK_AND_ASSIGN(const InModelResults results,
                       EvaluateInModel(*decoder_, prompts_, windows_, policies_, options_));
  ASSERT_EQ(results.policies.size(), 15);
  for (const auto& [name, cells] : results.policies) {
    EXPECT_DOUBLE_EQ(cells.at(0.5).cache_share, 0.5) << name;
    EXPECT_DOUBLE_EQ(cells.at(0.125).cache_share, 0.125) << name;
    EXPECT_EQ(cells.at(1).correct, results.full_cache.correct) << name;
    EXPECT_EQ(cells.at(1).nats_per_token, results.full_cache.nats_per_token) << name;
    EXPECT_GT(cells.at(0.5).score_ms, 0) << name;
  }
}

TEST_F(InModelTest, TasksAreCountedApart) {
  options_.budgets = {0.5};
  ASSERT_OK_AND_ASSIGN(const InModelResults results,
                       EvaluateInModel(*decoder_, prompts_, {}, {policies_[0]}, options_));
  const CacheResult& cell = results.policies[0].second.at(0.5);
  ASSERT_EQ(cell.tasks.size(), 2);
  EXPECT_NEAR((cell.tasks.at("even") + cell.tasks.at("odd")) / 2, cell.accuracy, 1e-12);
  EXPECT_NEAR(cell.task_mean, cell.accuracy, 1e-12);
  EXPECT_EQ(cell.task_details.at("even").questions, 4);
  EXPECT_DOUBLE_EQ(results.context_tokens, kContext);
}

TEST_F(InModelTest, IntervalsResamplePromptsByTheirQuestions) {
  // Answers of the whole cache, made right for the questions of two prompts.
  const auto likeliest = [this](const EvaluationPrompt& prompt) {
    KvCache cache = decoder_->NewCache();
    EXPECT_OK(decoder_->Forward(prompt.context, cache, {}));
    at::Tensor logits;
    for (int32_t token : prompt.questions[0].tokens)
      logits = *decoder_->Forward({token}, cache, {});
    return static_cast<int32_t>(logits.argmax().item<int64_t>());
  };
  for (size_t i = 0; i < prompts_.size(); ++i) {
    if (i != 2) prompts_[i].questions.resize(1);
    if (i == 0 || i == 3) prompts_[i].questions[0].answer = likeliest(prompts_[i]);
  }
  options_.budgets = {1};
  ASSERT_OK_AND_ASSIGN(const InModelResults results,
                       EvaluateInModel(*decoder_, prompts_, {}, {policies_[0]}, options_));
  const CacheResult& whole = results.full_cache;
  ASSERT_EQ(whole.correct, 2);
  ASSERT_EQ(whole.questions, 5);
  const Interval expected = BootstrapInterval({{1, 1}, {0, 1}, {0, 2}, {1, 1}}, options_.bootstrap);
  EXPECT_DOUBLE_EQ(whole.accuracy_interval.low, expected.low);
  EXPECT_DOUBLE_EQ(whole.accuracy_interval.high, expected.high);
  EXPECT_LT(whole.accuracy_interval.low, whole.accuracy);
  EXPECT_GT(whole.accuracy_interval.high, whole.accuracy);
  // even: 1 of 1 and 0 of 2; odd: 0 of 1 and 1 of 1.
  EXPECT_NEAR(whole.task_mean, (1.0 / 3 + 1.0 / 2) / 2, 1e-12);
  const Interval even = BootstrapInterval({{1, 1}, {0, 2}}, options_.bootstrap);
  EXPECT_DOUBLE_EQ(whole.task_details.at("even").interval.low, even.low);
  EXPECT_DOUBLE_EQ(whole.task_details.at("even").interval.high, even.high);
  EXPECT_EQ(results.policies[0].second.at(1).accuracy_interval.high, whole.accuracy_interval.high);
}

TEST_F(InModelTest, ThreadsDontChangeResults) {
  ASSERT_OK_AND_ASSIGN(const InModelResults one,
                       EvaluateInModel(*decoder_, prompts_, windows_, policies_, options_));
  options_.threads = 3;
  ASSERT_OK_AND_ASSIGN(const InModelResults three,
                       EvaluateInModel(*decoder_, prompts_, windows_, policies_, options_));
  for (size_t p = 0; p < policies_.size(); ++p) {
    for (double budget : options_.budgets) {
      const CacheResult& a = one.policies[p].second.at(budget);
      const CacheResult& b = three.policies[p].second.at(budget);
      EXPECT_EQ(a.correct, b.correct);
      EXPECT_EQ(a.nats_per_token, b.nats_per_token);
      EXPECT_EQ(a.cache_bytes, b.cache_bytes);
    }
  }
}

TEST_F(InModelTest, TimesAreMeasured) {
  options_.budgets = {0.5};
  options_.timed_sequences = 2;
  options_.timed_decode_tokens = 2;
  ASSERT_OK_AND_ASSIGN(const InModelResults results,
                       EvaluateInModel(*decoder_, prompts_, {}, policies_, options_));
  EXPECT_GT(results.prefill_ms, 0);
  EXPECT_GT(results.full_cache.decode_ms_per_token, 0);
  for (const auto& [name, cells] : results.policies) {
    EXPECT_GT(cells.at(0.5).score_ms, 0) << name;
    EXPECT_GT(cells.at(0.5).compact_ms, 0) << name;
    EXPECT_GT(cells.at(0.5).decode_ms_per_token, 0) << name;
  }
}

TEST_F(InModelTest, RefusesWhatItCantRun) {
  EXPECT_THAT(EvaluateInModel(*decoder_, {}, {}, policies_, options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nothing to run")));
  options_.budgets = {0};
  EXPECT_THAT(EvaluateInModel(*decoder_, prompts_, {}, policies_, options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("budget 0")));
  options_.budgets = {0.5};
  prompts_[2].questions[1].answer = prompts_[2].questions[0].answer;
  EXPECT_THAT(EvaluateInModel(*decoder_, prompts_, {}, policies_, options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("question 1")));
}

}  // namespace
}  // namespace kvp

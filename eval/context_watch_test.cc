#include "eval/context_watch.h"

#include <memory>
#include <vector>

#include "ATen/ATen.h"
#include "eval/context_replay.h"
#include "llm/attention_observer.h"
#include "llm/tiny_model.h"
#include "util/naive_importance.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using testing::HasSubstr;

// TinyModelOptions' defaults.
constexpr int64_t kLayers = 2;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kGroup = 2;
constexpr double kScale = 0.25;  // 1 / √head_dim
constexpr int64_t kContext = 70;

// Keeps all queries of a sequence.
class QueryRecorder : public AttentionObserver {
 public:
  absl::Status OnAttention(const AttentionChunk& chunk) override {
    at::Tensor& queries = queries_[chunk.layer];
    queries = queries.defined() ? at::cat({queries, chunk.queries}, 1) : chunk.queries.clone();
    return absl::OkStatus();
  }
  // [tokens, head_dim] of one query head.
  at::Tensor queries(int64_t layer, int64_t query_head) const {
    return queries_[layer][query_head];
  }

 private:
  at::Tensor queries_[kLayers];
};

class ContextWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/tiny_context_watch";
    TinyModelOptions tiny;
    // The last layer has a sliding window.
    tiny.architecture = "Qwen2ForCausalLM";
    tiny.config = {{"use_sliding_window", true}, {"sliding_window", 20}, {"max_window_layers", 1}};
    ASSERT_OK(WriteTinyModel(directory_, tiny));
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(directory_, {}));
    for (int32_t i = 0; i < kContext; ++i) context_.push_back((i * 37 + 5) % 256);
  }
  int64_t Window(int64_t layer) const { return decoder_->config().window(layer); }

  std::string directory_;
  std::unique_ptr<Decoder> decoder_;
  std::vector<int32_t> context_;
};

TEST_F(ContextWatchTest, NothingIsWatchedForPoliciesThatDontNeedIt) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("key_diff"));
  ContextWatch watch(*decoder_, {policy.get()}, {});
  EXPECT_EQ(watch.observer(), nullptr);
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(decoder_->Forward(context_, cache, {}));
  ASSERT_OK_AND_ASSIGN(const PolicyInput input, watch.Input(context_, cache, 3));
  EXPECT_FALSE(input.queries.recent.defined());
  EXPECT_FALSE(input.replay_attention.defined());
  EXPECT_EQ(input.rope_frequencies, decoder_->rope_frequencies());
  EXPECT_EQ(input.sequence_seed, 3);
}

TEST_F(ContextWatchTest, QueriesAreThoseOfThePrefill) {
  ASSERT_EQ(Window(0), 0);
  ASSERT_EQ(Window(1), 20);
  std::vector<std::unique_ptr<Policy>> policies;
  for (const char* name : {"h2o", "tova", "expected_attention"}) {
    policies.push_back(*MakePolicy(name));
  }
  ContextWatch watch(*decoder_, {policies[0].get(), policies[1].get(), policies[2].get()}, {});
  KvCache cache = decoder_->NewCache();
  Decoder::ForwardOptions forward;
  forward.chunk_tokens = 32;
  forward.observer = watch.observer();
  ASSERT_OK(decoder_->Forward(context_, cache, forward));
  ASSERT_OK_AND_ASSIGN(const PolicyInput input, watch.Input(context_, cache, 0));

  QueryRecorder recorder;
  forward.observer = &recorder;
  KvCache again = decoder_->NewCache();
  ASSERT_OK(decoder_->Forward(context_, again, forward));
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t head = 0; head < kKvHeads; ++head) {
      const int64_t row = layer * kKvHeads + head;
      EXPECT_EQ(input.queries.windows[row], Window(layer));
      at::Tensor sums = at::zeros({kContext}, at::kDouble);
      for (int64_t member = 0; member < kGroup; ++member) {
        const at::Tensor queries = recorder.queries(layer, head * kGroup + member);
        EXPECT_TRUE(at::allclose(input.queries.recent[row][member],
                                 queries.narrow(0, kContext - 64, 64), 1e-5, 1e-6));
        sums +=
            NaiveAttention(queries, cache.keys(layer, head), kScale, Window(layer)).sum(0) / kGroup;
      }
      EXPECT_TRUE(
          at::allclose(input.queries.attention_sums[row].to(at::kDouble), sums, 1e-4, 1e-5));
    }
  }
  EXPECT_DOUBLE_EQ(input.queries.scale, kScale);
  for (const auto& policy : policies) EXPECT_OK(policy->Score(input));
}

TEST_F(ContextWatchTest, ACacheThatLostEntriesCantBeWatched) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("h2o"));
  ContextWatch watch(*decoder_, {policy.get()}, {});
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(decoder_->Forward(context_, cache, {}));
  ASSERT_OK(cache.Remove(1, 0, 3));
  Decoder::ForwardOptions forward;
  forward.observer = watch.observer();
  EXPECT_THAT(decoder_->Forward({1, 2}, cache, forward),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("removed")));
}

TEST_F(ContextWatchTest, ReplayAttentionIsTheLargestThatARepetitionPays) {
  const std::vector<int32_t> prompt = {7, 8, 9};
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(decoder_->Forward(context_, cache, {}));
  // In one piece, and in three: 70 + 3 + 8 leave 25 of 106 tokens.
  for (const int64_t chunk : {70, 25}) {
    Decoder::Options options;
    options.max_model_len = kContext + 3 + 8 + chunk;
    ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load(directory_, options));
    ASSERT_OK_AND_ASSIGN(const at::Tensor replayed,
                         ReplayAttention(*decoder, context_, cache, prompt));
    at::Tensor expected = at::zeros({kLayers * kKvHeads, kContext}, at::kDouble);
    for (int64_t first = 0; first < kContext; first += chunk) {
      std::vector<int32_t> tokens = context_;
      tokens.insert(tokens.end(), prompt.begin(), prompt.end());
      for (int64_t i = std::max<int64_t>(0, first - 8); i < std::min(kContext, first + chunk);
           ++i) {
        tokens.push_back(context_[i]);
      }
      QueryRecorder recorder;
      Decoder::ForwardOptions forward;
      forward.observer = &recorder;
      KvCache whole = decoder->NewCache();
      ASSERT_OK(decoder->Forward(tokens, whole, forward));
      const int64_t behind = static_cast<int64_t>(tokens.size()) - kContext;
      for (int64_t row = 0; row < kLayers * kKvHeads; ++row) {
        const int64_t layer = row / kKvHeads;
        const int64_t head = row % kKvHeads;
        for (int64_t member = 0; member < kGroup; ++member) {
          const at::Tensor attention =
              NaiveAttention(recorder.queries(layer, head * kGroup + member),
                             whole.keys(layer, head), kScale, Window(layer));
          const at::Tensor largest =
              attention.narrow(0, kContext, behind).narrow(1, 0, kContext).amax(0);
          expected[row] = at::maximum(expected[row], largest);
        }
      }
    }
    EXPECT_TRUE(at::allclose(replayed.to(at::kDouble), expected, 1e-4, 1e-6)) << chunk;
  }
  EXPECT_EQ(cache.next_position(), kContext);
}

TEST_F(ContextWatchTest, ARepetitionThatTheModelHasNoRoomForIsRefused) {
  Decoder::Options options;
  options.max_model_len = kContext + 11;
  ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load(directory_, options));
  KvCache cache = decoder->NewCache();
  ASSERT_OK(decoder->Forward(context_, cache, {}));
  EXPECT_THAT(ReplayAttention(*decoder, context_, cache, {1, 2, 3}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("max_model_len=81")));
  EXPECT_THAT(ReplayAttention(*decoder, {1, 2}, cache, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 tokens")));
}

}  // namespace
}  // namespace kvp

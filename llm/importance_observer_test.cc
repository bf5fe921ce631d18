#include "llm/importance_observer.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/ATen.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/attention.h"
#include "llm/narrowed_observer.h"
#include "util/naive_importance.h"
#include "util/status_macros.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int64_t kLayers = 2;
constexpr int64_t kHeadDim = 8;
constexpr double kScale = 0.4;

ModelConfig Config(int64_t kv_heads, int64_t group) {
  ModelConfig config;
  config.layers = kLayers;
  config.kv_heads = kv_heads;
  config.query_heads = kv_heads * group;
  config.head_dim = kHeadDim;
  return config;
}

// One sequence's queries and keys, and a cache that they go through chunk by chunk; the second
// layer has a sliding window, where there is one.
struct Sequence {
  Sequence(const ModelConfig& config, int64_t tokens, int64_t window = 0)
      : config(config),
        window(window),
        queries(at::randn({kLayers, config.query_heads, tokens, kHeadDim}) * 3),
        keys(at::randn({kLayers, config.kv_heads, tokens, kHeadDim})),
        cache(config, at::TensorOptions().dtype(at::kFloat)) {}

  absl::Status Run(int64_t first, int64_t tokens, AttentionObserver& observer,
                   int64_t score_bytes = 0) {
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const at::Tensor chunk = keys[layer].narrow(1, first, tokens);
      cache.Append(layer, chunk, chunk);
      AttentionChunk seen;
      seen.layer = layer;
      seen.queries = queries[layer].narrow(1, first, tokens);
      seen.first_position = first;
      seen.cache = &cache;
      seen.scale = kScale;
      seen.window = layer == 1 ? window : 0;
      RETURN_IF_ERROR(
          Attend(seen, &observer, at::empty({tokens, config.query_heads * kHeadDim}), score_bytes));
    }
    cache.AdvancePosition(tokens);
    return absl::OkStatus();
  }

  const ModelConfig config;
  const int64_t window;
  const at::Tensor queries;
  const at::Tensor keys;
  KvCache cache;
};

void ExpectLabels(const Sequence& sequence, const std::vector<int64_t>& cuts,
                  const std::vector<at::Tensor>& labels) {
  ASSERT_EQ(labels.size(), kLayers);
  const int64_t group = sequence.config.query_group();
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t head = 0; head < sequence.config.kv_heads; ++head) {
      const at::Tensor reference = NaiveImportance(
          sequence.queries[layer].narrow(0, head * group, group), sequence.keys[layer][head],
          kScale, layer == 1 ? sequence.window : 0, cuts);
      EXPECT_LT(LargestRelativeError(labels[layer][head], reference, 1e-9), 1e-4)
          << "layer " << layer << " head " << head;
    }
  }
}

TEST(ImportanceObserverTest, EqualsTheDefinitionWhateverAttentionShows) {
  at::manual_seed(3);
  constexpr int64_t kTokens = 150;
  for (const int64_t group : {1, 3}) {
    for (const int64_t window : {0, 40}) {
      Sequence sequence(Config(/*kv_heads=*/2, group), kTokens, window);
      for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{70}, {3, 64, 65, 140}}) {
        for (const Shown shown : {Shown::kWeights, Shown::kLogSumExp, Shown::kQueriesAlone}) {
          // Shorter and longer than what is kept for a matrix product, and ragged at the end.
          for (const int64_t chunk : {1, 63, 64, 150}) {
            sequence.cache = KvCache(sequence.config, at::TensorOptions().dtype(at::kFloat));
            ASSERT_OK_AND_ASSIGN(const auto importance,
                                 ImportanceObserver::Create(sequence.config, cuts));
            NarrowedObserver observer(importance.get(), shown);
            for (int64_t first = 0; first < kTokens; first += chunk) {
              // Attention itself in blocks of a few queries.
              ASSERT_OK(sequence.Run(first, std::min(chunk, kTokens - first), observer,
                                     /*score_bytes=*/7 * 4 * 2 * group * kTokens));
            }
            ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> labels,
                                 importance->Finish(sequence.cache));
            SCOPED_TRACE(testing::Message()
                         << "group " << group << " window " << window << " chunk " << chunk
                         << " last cut " << cuts.back() << " shown " << static_cast<int>(shown));
            ExpectLabels(sequence, cuts, labels);
          }
        }
      }
    }
  }
}

TEST(ImportanceObserverTest, AChunkOfPromptAndSingleTokensAddUp) {
  at::manual_seed(4);
  const std::vector<int64_t> cuts = {20, 50};
  for (const Shown shown : {Shown::kWeights, Shown::kQueriesAlone}) {
    Sequence sequence(Config(/*kv_heads=*/2, /*group=*/2), 180);
    ASSERT_OK_AND_ASSIGN(const auto importance, ImportanceObserver::Create(sequence.config, cuts));
    NarrowedObserver observer(importance.get(), shown);
    ASSERT_OK(sequence.Run(0, 30, observer));
    ASSERT_OK(sequence.Run(30, 65, observer));
    for (int64_t first = 95; first < 180; ++first) ASSERT_OK(sequence.Run(first, 1, observer));
    ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> labels, importance->Finish(sequence.cache));
    ExpectLabels(sequence, cuts, labels);
  }
}

TEST(ImportanceObserverTest, MayBeginAtTheCut) {
  at::manual_seed(5);
  Sequence sequence(Config(/*kv_heads=*/2, /*group=*/2), 60);
  ASSERT_OK_AND_ASSIGN(const auto unused, ImportanceObserver::Create(sequence.config, {40}));
  ASSERT_OK(sequence.Run(0, 40, *unused));
  ASSERT_OK_AND_ASSIGN(const auto importance, ImportanceObserver::Create(sequence.config, {40}));
  ASSERT_OK(sequence.Run(40, 20, *importance));
  ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> labels, importance->Finish(sequence.cache));
  ExpectLabels(sequence, {40}, labels);
}

TEST(ImportanceObserverTest, WithoutQueriesAfterTheCutLabelsAreZero) {
  Sequence sequence(Config(/*kv_heads=*/1, /*group=*/2), 10);
  ASSERT_OK_AND_ASSIGN(const auto importance, ImportanceObserver::Create(sequence.config, {10}));
  ASSERT_OK(sequence.Run(0, 10, *importance));
  ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> labels, importance->Finish(sequence.cache));
  ASSERT_EQ(labels.size(), kLayers);
  EXPECT_EQ(labels[0].sizes(), (std::vector<int64_t>{1, 1, 10}));
  EXPECT_EQ(labels[0].abs().max().item<float>(), 0);
}

TEST(ImportanceObserverTest, ACacheWithRemovedEntriesIsRefused) {
  Sequence sequence(Config(/*kv_heads=*/2, /*group=*/1), 10);
  ASSERT_OK_AND_ASSIGN(const auto importance, ImportanceObserver::Create(sequence.config, {2}));
  ASSERT_OK(sequence.Run(0, 8, *importance));
  ASSERT_OK(sequence.cache.Keep(1, 1, at::arange(5)));
  EXPECT_THAT(sequence.Run(8, 2, *importance),
              StatusIs(kInvalid, HasSubstr("head 1 of layer 1 holds 7 entries")));
}

TEST(ImportanceObserverTest, CutsThatDoNotAscendAreRefused) {
  EXPECT_THAT(ImportanceObserver::Create(Config(/*kv_heads=*/1, /*group=*/1), {5, 4}),
              StatusIs(kInvalid, HasSubstr("ascending")));
}

}  // namespace
}  // namespace kvp

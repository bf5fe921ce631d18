#include "collector/importance.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/ATen.h"
#include "collector/naive_importance.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int64_t kLayers = 2;
constexpr int64_t kHeadDim = 8;

ModelConfig Config(int64_t kv_heads, int64_t group) {
  ModelConfig config;
  config.layers = kLayers;
  config.kv_heads = kv_heads;
  config.query_heads = kv_heads * group;
  config.head_dim = kHeadDim;
  return config;
}

// One sequence's queries and keys, and a cache that they go through chunk by chunk.
struct Sequence {
  Sequence(const ModelConfig& config, int64_t tokens)
      : config(config),
        queries(at::randn({kLayers, config.query_heads, tokens, kHeadDim}) * 3),
        keys(at::randn({kLayers, config.kv_heads, tokens, kHeadDim})),
        cache(config, at::TensorOptions().dtype(at::kFloat)) {}

  absl::Status Run(int64_t first, int64_t tokens, AttentionObserver& observer) {
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const at::Tensor chunk = keys[layer].narrow(1, first, tokens);
      cache.Append(layer, chunk, chunk);
      AttentionChunk seen;
      seen.layer = layer;
      seen.queries = queries[layer].narrow(1, first, tokens);
      seen.first_position = first;
      seen.cache = &cache;
      RETURN_IF_ERROR(observer.OnAttention(seen));
    }
    cache.AdvancePosition(tokens);
    return absl::OkStatus();
  }

  const ModelConfig config;
  const at::Tensor queries;
  const at::Tensor keys;
  KvCache cache;
};

void ExpectLabels(const Sequence& sequence, const std::vector<int64_t>& cuts,
                  const at::Tensor& labels) {
  const int64_t group = sequence.config.query_group();
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t head = 0; head < sequence.config.kv_heads; ++head) {
      const at::Tensor reference = NaiveImportance(
          sequence.queries[layer].narrow(0, head * group, group), sequence.keys[layer][head], cuts);
      EXPECT_LT(LargestRelativeError(labels[layer][head], reference, 1e-9), 1e-4)
          << "layer " << layer << " head " << head;
    }
  }
}

TEST(ImportanceTest, EqualsTheDefinitionForEveryGroupSizeChunkSizeAndCuts) {
  at::manual_seed(3);
  constexpr int64_t kTokens = 150;
  for (const int64_t group : {1, 3}) {
    for (const std::vector<int64_t>& cuts :
         {std::vector<int64_t>{1}, {70}, {3, 64, 65, 140}, {149}}) {
      Sequence sequence(Config(/*kv_heads=*/2, group), kTokens);
      // Shorter and longer than what is kept for a matrix product, and ragged at the end.
      for (const int64_t chunk : {1, 63, 64, 150}) {
        sequence.cache = KvCache(sequence.config, at::TensorOptions().dtype(at::kFloat));
        ASSERT_OK_AND_ASSIGN(const auto importance,
                             ImportanceAccumulator::Create(sequence.config, cuts));
        for (int64_t first = 0; first < kTokens; first += chunk) {
          ASSERT_OK(sequence.Run(first, std::min(chunk, kTokens - first), *importance));
        }
        ASSERT_OK_AND_ASSIGN(const at::Tensor labels, importance->Finish(sequence.cache));
        SCOPED_TRACE(testing::Message()
                     << "group " << group << " chunk " << chunk << " last cut " << cuts.back());
        ExpectLabels(sequence, cuts, labels);
      }
    }
  }
}

TEST(ImportanceTest, AChunkOfPromptAndSingleTokensAddUp) {
  at::manual_seed(4);
  Sequence sequence(Config(/*kv_heads=*/2, /*group=*/2), 100);
  const std::vector<int64_t> cuts = {20, 50};
  ASSERT_OK_AND_ASSIGN(const auto importance, ImportanceAccumulator::Create(sequence.config, cuts));
  ASSERT_OK(sequence.Run(0, 30, *importance));
  ASSERT_OK(sequence.Run(30, 65, *importance));
  for (int64_t first = 95; first < 100; ++first) ASSERT_OK(sequence.Run(first, 1, *importance));
  ASSERT_OK_AND_ASSIGN(const at::Tensor labels, importance->Finish(sequence.cache));
  ExpectLabels(sequence, cuts, labels);
}

TEST(ImportanceTest, WithoutQueriesAfterTheCutLabelsAreZero) {
  Sequence sequence(Config(/*kv_heads=*/1, /*group=*/2), 10);
  ASSERT_OK_AND_ASSIGN(const auto importance, ImportanceAccumulator::Create(sequence.config, {10}));
  ASSERT_OK(sequence.Run(0, 10, *importance));
  ASSERT_OK_AND_ASSIGN(const at::Tensor labels, importance->Finish(sequence.cache));
  EXPECT_EQ(labels.sizes(), (std::vector<int64_t>{kLayers, 1, 1, 10}));
  EXPECT_EQ(labels.abs().max().item<float>(), 0);
}

TEST(ImportanceTest, ACacheWithRemovedEntriesIsRefused) {
  Sequence sequence(Config(/*kv_heads=*/2, /*group=*/1), 10);
  ASSERT_OK_AND_ASSIGN(const auto importance, ImportanceAccumulator::Create(sequence.config, {2}));
  ASSERT_OK(sequence.Run(0, 8, *importance));
  ASSERT_OK(sequence.cache.Keep(1, 1, at::arange(5)));
  EXPECT_THAT(sequence.Run(8, 2, *importance),
              StatusIs(kInvalid, HasSubstr("head 1 of layer 1 holds 7 entries")));
}

TEST(ImportanceTest, CutsThatDoNotAscendAreRefused) {
  const ModelConfig config = Config(/*kv_heads=*/1, /*group=*/1);
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {0}, {3, 3}, {5, 4}}) {
    EXPECT_THAT(ImportanceAccumulator::Create(config, cuts),
                StatusIs(kInvalid, HasSubstr("ascending")));
  }
}

}  // namespace
}  // namespace kvp

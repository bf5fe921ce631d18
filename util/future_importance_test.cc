#include "util/future_importance.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ATen/ATen.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/naive_importance.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kKvHeads = 2;
constexpr int64_t kTokens = 45;
constexpr int64_t kHeadDim = 8;
constexpr double kScale = 0.3;

// Queries and keys of one layer.
struct Layer {
  explicit Layer(int64_t group)
      : queries(at::randn({kKvHeads * group, kTokens, kHeadDim}) * 3),
        keys(at::randn({kKvHeads, kTokens, kHeadDim})) {}

  int64_t group() const { return queries.size(0) / kKvHeads; }

  // double [kv_heads, cuts, entries]
  at::Tensor Reference(int64_t window, const std::vector<int64_t>& cuts) const {
    std::vector<at::Tensor> heads;
    for (int64_t head = 0; head < kKvHeads; ++head) {
      heads.push_back(NaiveImportance(queries.narrow(0, head * group(), group()), keys[head],
                                      kScale, window, cuts));
    }
    return at::stack(heads);
  }

  // fp32 [query_heads, tokens, tokens]
  at::Tensor Weights(int64_t window) const {
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < queries.size(0); ++h) {
      heads.push_back(NaiveAttention(queries[h], keys[h / group()], kScale, window));
    }
    return at::stack(heads).to(at::kFloat);
  }

  // log of the sum of exp(scale * q . k) over what a query sees: its score less its log weight.
  at::Tensor LogSumExp(int64_t window) const {
    const at::Tensor own = (queries * keys.repeat_interleave(group(), 0)).sum(2) * kScale;
    return own - Weights(window).diagonal(0, 1, 2).log();
  }

  const at::Tensor queries;
  const at::Tensor keys;
};

enum class Path { kWeights, kLogSumExp, kQueriesAlone };

// The labels of the layer's queries, given chunk by chunk as `path` says.
at::Tensor LabelsOf(const Layer& layer, int64_t window, const std::vector<int64_t>& cuts, Path path,
                    int64_t chunk, int64_t block_bytes) {
  auto importance = FutureImportance::Create(kKvHeads, cuts);
  EXPECT_OK(importance);
  const at::Tensor weights = layer.Weights(window);
  const at::Tensor log_sum_exp = layer.LogSumExp(window);
  for (int64_t first = 0; first < kTokens; first += chunk) {
    const int64_t tokens = std::min(chunk, kTokens - first);
    LayerAttention attention;
    attention.queries = layer.queries.narrow(1, first, tokens);
    attention.first_position = first;
    attention.keys = layer.keys;
    attention.scale = kScale;
    attention.window = window;
    if (path == Path::kWeights) {
      // As attention in blocks has them: only the entries that some query of the chunk sees.
      attention.first_entry = window > 0 ? std::max<int64_t>(0, first - window + 1) : 0;
      const int64_t entries = first + tokens - attention.first_entry;
      attention.weights =
          weights.narrow(1, first, tokens).narrow(2, attention.first_entry, entries).contiguous();
    }
    if (path == Path::kLogSumExp) attention.log_sum_exp = log_sum_exp.narrow(1, first, tokens);
    EXPECT_OK(importance->Add(attention, block_bytes));
  }
  return importance->Labels();
}

class FutureImportanceTest : public ::testing::Test {
 protected:
  FutureImportanceTest() { at::manual_seed(7); }
};

TEST_F(FutureImportanceTest, EqualsTheDefinitionOnEveryPathForEveryGroupWindowCutAndChunk) {
  for (const int64_t group : {1, 2, 3, 7}) {
    const Layer layer(group);
    for (const int64_t window : {0, 1, 5, 20, 100}) {
      for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{31}, {1, 9, 10, 31}, {45}}) {
        const at::Tensor reference = layer.Reference(window, cuts);
        for (const Path path : {Path::kWeights, Path::kLogSumExp, Path::kQueriesAlone}) {
          for (const int64_t chunk : {1, 4, 44, 45}) {
            // One query, three and all of them a block.
            for (const int64_t block_bytes :
                 {int64_t{1}, 3 * 16 * group * kTokens, kFutureImportanceBlockBytes}) {
              const at::Tensor labels = LabelsOf(layer, window, cuts, path, chunk, block_bytes);
              ASSERT_EQ(labels.sizes(), reference.sizes());
              ASSERT_LT(LargestRelativeError(labels, reference, 1e-9), 1e-4)
                  << "group " << group << " window " << window << " last cut " << cuts.back()
                  << " path " << static_cast<int>(path) << " chunk " << chunk << " block bytes "
                  << block_bytes;
              if (path == Path::kWeights) break;
            }
          }
        }
      }
    }
  }
}

TEST_F(FutureImportanceTest, WeightsOfAnyStridesGiveTheSame) {
  const Layer layer(3);
  const std::vector<int64_t> cuts = {9, 31};
  LayerAttention attention;
  attention.weights = layer.Weights(0).transpose(1, 2).contiguous().transpose(1, 2);
  ASSERT_OK_AND_ASSIGN(FutureImportance importance, FutureImportance::Create(kKvHeads, cuts));
  ASSERT_OK(importance.Add(attention));
  EXPECT_LT(LargestRelativeError(importance.Labels(), layer.Reference(0, cuts), 1e-9), 1e-4);
}

TEST_F(FutureImportanceTest, LowerPrecisionInputsAreMultipliedAndSummedInSinglePrecision) {
  constexpr int64_t kLong = 400;
  const at::Tensor queries = (at::randn({2, kLong, 16}) * 2).to(at::kBFloat16);
  const at::Tensor keys = at::randn({1, kLong, 16}).to(at::kBFloat16);
  ASSERT_OK_AND_ASSIGN(FutureImportance importance, FutureImportance::Create(1, {100}));
  LayerAttention attention;
  attention.queries = queries;
  attention.keys = keys;
  attention.scale = 0.25;
  ASSERT_OK(importance.Add(attention));
  EXPECT_LT(LargestRelativeError(importance.Labels()[0],
                                 NaiveImportance(queries, keys[0], 0.25, 0, {100}), 1e-9),
            1e-4);
}

// Labels are stored in fp16, which keeps 11 bits, and steps of 2^-24 below 2^-14.
TEST_F(FutureImportanceTest, RoundedToHalfPrecisionErrsByAPartIn2048AtMost) {
  const Layer layer(3);
  const std::vector<int64_t> cuts = {1, 9, 10, 31};
  const at::Tensor labels = LabelsOf(layer, 0, cuts, Path::kWeights, kTokens, 0).to(at::kHalf);
  const at::Tensor reference = layer.Reference(0, cuts);
  const at::Tensor bound = reference / 2048 + std::pow(2.0, -25) + reference * 1e-5;
  EXPECT_TRUE((labels.to(at::kDouble) - reference).abs().le(bound).all().item<bool>());
  EXPECT_GT((labels.to(at::kDouble) - reference).abs().max().item<double>(), 0);
}

TEST_F(FutureImportanceTest, ACutAtTheSequenceEndIsWorthNothing) {
  const Layer layer(2);
  for (const Path path : {Path::kWeights, Path::kLogSumExp, Path::kQueriesAlone}) {
    const at::Tensor labels =
        LabelsOf(layer, 0, {kTokens}, path, kTokens, kFutureImportanceBlockBytes);
    EXPECT_EQ(labels.sizes(), (std::vector<int64_t>{kKvHeads, 1, kTokens}));
    EXPECT_EQ(labels.abs().max().item<float>(), 0);
  }
}

TEST_F(FutureImportanceTest, ALargeScoreDoesNotOverflow) {
  ASSERT_OK_AND_ASSIGN(FutureImportance importance, FutureImportance::Create(1, {2}));
  LayerAttention attention;
  attention.queries = at::full({1, 3, 4}, 1e4);
  attention.keys = at::full({1, 3, 4}, 1e4);
  attention.scale = 0.5;
  ASSERT_OK(importance.Add(attention));
  EXPECT_NEAR(importance.Labels()[0][0][0].item<float>(), 1. / 3, 1e-6);
}

TEST_F(FutureImportanceTest, WhatDoesNotFitTogetherIsNamed) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {0}, {3, 3}, {5, 4}}) {
    EXPECT_THAT(FutureImportance::Create(1, cuts), StatusIs(kInvalid, HasSubstr("ascending")));
  }
  ASSERT_OK_AND_ASSIGN(FutureImportance importance, FutureImportance::Create(2, {2}));
  LayerAttention good;
  good.queries = at::randn({4, 6, 4});
  good.keys = at::randn({2, 6, 4});
  good.scale = 1;
  LayerAttention bad = good;
  bad.queries = good.queries.narrow(0, 0, 3);
  EXPECT_THAT(importance.Add(bad), StatusIs(kInvalid, HasSubstr("queries [3, 6, 4]")));
  bad = good;
  bad.keys = good.keys.narrow(2, 0, 3);
  EXPECT_THAT(importance.Add(bad), StatusIs(kInvalid, HasSubstr("keys [2, 6, 3]")));
  bad = good;
  bad.first_position = 1;
  EXPECT_THAT(importance.Add(bad),
              StatusIs(kInvalid, HasSubstr("6 keys for 6 queries from first_position 1")));
  bad = good;
  bad.log_sum_exp = at::zeros({4, 5});
  EXPECT_THAT(importance.Add(bad), StatusIs(kInvalid, HasSubstr("log_sum_exp [4, 5]")));
  bad = good;
  bad.weights = at::zeros({3, 6, 6});
  EXPECT_THAT(importance.Add(bad), StatusIs(kInvalid, HasSubstr("weights [3, 6, 6]")));
}

}  // namespace
}  // namespace kvp

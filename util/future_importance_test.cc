#include "util/future_importance.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ATen/ATen.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

// The definition, in double and in scalar loops, with the whole T x T softmax.
std::vector<std::vector<double>> Reference(const at::Tensor& queries, const at::Tensor& keys,
                                           const std::vector<int64_t>& cuts, int64_t entries) {
  const at::Tensor q = queries.to(at::kDouble).contiguous();
  const at::Tensor k = keys.to(at::kDouble).contiguous();
  const auto q_at = q.accessor<double, 3>();
  const auto k_at = k.accessor<double, 2>();
  const int64_t tokens = k.size(0);
  const double scale = 1 / std::sqrt(static_cast<double>(k.size(1)));
  std::vector<std::vector<double>> largest(tokens, std::vector<double>(tokens, 0));
  for (int64_t h = 0; h < q.size(0); ++h) {
    for (int64_t j = 0; j < tokens; ++j) {
      std::vector<double> weights(j + 1);
      double sum = 0;
      for (int64_t i = 0; i <= j; ++i) {
        double dot = 0;
        for (int64_t d = 0; d < k.size(1); ++d) dot += q_at[h][j][d] * k_at[i][d];
        sum += weights[i] = std::exp(dot * scale);
      }
      for (int64_t i = 0; i <= j; ++i) largest[j][i] = std::max(largest[j][i], weights[i] / sum);
    }
  }
  std::vector<std::vector<double>> importance;
  for (const int64_t cut : cuts) {
    std::vector<double> row(entries, 0);
    for (int64_t i = 0; i < cut; ++i) {
      for (int64_t j = cut; j < tokens; ++j) row[i] += largest[j][i];
    }
    importance.push_back(std::move(row));
  }
  return importance;
}

void ExpectNear(const at::Tensor& importance, const std::vector<std::vector<double>>& reference,
                double relative) {
  ASSERT_EQ(importance.size(0), reference.size());
  ASSERT_EQ(importance.size(1), reference[0].size());
  const auto at = importance.accessor<float, 2>();
  for (size_t c = 0; c < reference.size(); ++c) {
    for (size_t i = 0; i < reference[c].size(); ++i) {
      ASSERT_NEAR(at[c][i], reference[c][i], relative * reference[c][i] + 1e-9)
          << "cut " << c << " entry " << i;
    }
  }
}

class FutureImportanceTest : public ::testing::Test {
 protected:
  FutureImportanceTest() { at::manual_seed(7); }
};

TEST_F(FutureImportanceTest, EqualsTheDefinitionForEveryGroupChunkAndBlockSize) {
  constexpr int64_t kTokens = 45;
  constexpr int64_t kHeadDim = 8;
  constexpr int64_t kEntries = 31;
  const std::vector<int64_t> cuts = {1, 9, 10, 31};
  for (const int64_t group : {1, 2, 3, 7}) {
    const at::Tensor queries = at::randn({group, kTokens, kHeadDim}) * 3;
    const at::Tensor keys = at::randn({kTokens, kHeadDim});
    const auto reference = Reference(queries, keys, cuts, kEntries);
    for (const int64_t chunk : {1, 4, 16, 44, 45}) {
      // One query, three and all of them a block.
      for (const int64_t block_bytes :
           {int64_t{1}, 3 * 8 * group * kTokens, kFutureImportanceBlockBytes}) {
        at::Tensor importance = at::zeros({static_cast<int64_t>(cuts.size()), kEntries});
        for (int64_t first = 0; first < kTokens; first += chunk) {
          const int64_t tokens = std::min(chunk, kTokens - first);
          ASSERT_OK(AddFutureImportance(queries.narrow(1, first, tokens), keys, first, cuts,
                                        importance, block_bytes));
        }
        SCOPED_TRACE(testing::Message()
                     << "group " << group << " chunk " << chunk << " block bytes " << block_bytes);
        ExpectNear(importance, reference, 1e-4);
      }
    }
  }
}

TEST_F(FutureImportanceTest, ACutAtTheSequenceEndIsWorthNothing) {
  const at::Tensor queries = at::randn({2, 6, 4});
  const at::Tensor keys = at::randn({6, 4});
  at::Tensor importance = at::zeros({1, 6});
  ASSERT_OK(AddFutureImportance(queries, keys, 0, {6}, importance));
  EXPECT_EQ(importance.abs().max().item<float>(), 0);
}

TEST_F(FutureImportanceTest, LowerPrecisionInputsAreSummedInSinglePrecision) {
  const at::Tensor queries = (at::randn({2, 400, 16}) * 2).to(at::kBFloat16);
  const at::Tensor keys = at::randn({400, 16}).to(at::kBFloat16);
  const std::vector<int64_t> cuts = {100};
  at::Tensor importance = at::zeros({1, 100});
  ASSERT_OK(AddFutureImportance(queries, keys, 0, cuts, importance));
  ExpectNear(importance, Reference(queries, keys, cuts, 100), 1e-4);
}

TEST_F(FutureImportanceTest, ALargeScoreDoesNotOverflow) {
  const at::Tensor queries = at::full({1, 3, 4}, 1e4);
  const at::Tensor keys = at::full({3, 4}, 1e4);
  at::Tensor importance = at::zeros({1, 2});
  ASSERT_OK(AddFutureImportance(queries, keys, 0, {2}, importance));
  EXPECT_NEAR(importance[0][0].item<float>(), 1. / 3, 1e-6);
}

TEST_F(FutureImportanceTest, WhatDoesNotFitTogetherIsNamed) {
  const at::Tensor queries = at::randn({2, 6, 4});
  const at::Tensor keys = at::randn({6, 4});
  at::Tensor importance = at::zeros({1, 6});
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(AddFutureImportance(queries[0], keys, 0, {2}, importance),
              StatusIs(kInvalid, HasSubstr("queries [6, 4]")));
  EXPECT_THAT(AddFutureImportance(queries, keys.narrow(1, 0, 3), 0, {2}, importance),
              StatusIs(kInvalid, HasSubstr("keys [6, 3]")));
  EXPECT_THAT(AddFutureImportance(queries, keys, 1, {2}, importance),
              StatusIs(kInvalid, HasSubstr("6 keys for 6 queries from first_position 1")));
  EXPECT_THAT(AddFutureImportance(queries, keys, 0, {2, 3}, importance),
              StatusIs(kInvalid, HasSubstr("importance [1, 6]")));
  EXPECT_THAT(AddFutureImportance(queries, keys, 0, {7}, importance),
              StatusIs(kInvalid, HasSubstr("cuts [7]")));
  EXPECT_THAT(AddFutureImportance(queries, keys, 0, {0}, importance),
              StatusIs(kInvalid, HasSubstr("cuts [0]")));
}

}  // namespace
}  // namespace kvp

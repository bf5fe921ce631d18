#include "policy/query_statistics.h"

#include <algorithm>
#include <cmath>

#include "ATen/ATen.h"
#include "gtest/gtest.h"
#include "policy/seeded_random.h"
#include "util/naive_importance.h"

namespace kvp {
namespace {

constexpr int64_t kKvHeads = 2;
constexpr int64_t kGroup = 3;
constexpr int64_t kTokens = 90;
constexpr int64_t kHeadDim = 6;
constexpr double kScale = 0.4;
const std::vector<double> kFrequencies = {0.8, 0.05};

class QueryStatisticsTest : public testing::Test {
 protected:
  // Adds all queries in chunks, each showing weights, their normaliser, or nothing.
  QueryStatistics Gathered(int64_t chunk, int64_t window, bool weights, bool log_sum_exp) {
    QueryStatistics statistics(kKvHeads, kFrequencies, {true, true, true});
    for (int64_t first = 0; first < kTokens; first += chunk) {
      const int64_t tokens = std::min(chunk, kTokens - first);
      LayerAttention attention;
      attention.queries = queries_.narrow(1, first, tokens);
      attention.first_position = first;
      attention.keys = keys_;  // later ones aren't seen
      attention.scale = kScale;
      attention.window = window;
      if (weights) {
        std::vector<at::Tensor> all;
        for (int64_t h = 0; h < kKvHeads * kGroup; ++h) all.push_back(Attention(h, window));
        attention.weights = at::stack(all).to(at::kFloat).narrow(1, first, tokens);
        attention.weights = attention.weights.narrow(2, 0, first + tokens);
      }
      if (log_sum_exp) {
        std::vector<at::Tensor> all;
        for (int64_t h = 0; h < kKvHeads * kGroup; ++h) {
          // A query's own entry: its score less its weight's logarithm.
          const at::Tensor own = (queries_[h] * keys_[h / kGroup]).sum(1).mul(kScale);
          all.push_back(own - Attention(h, window).diagonal().log().to(at::kFloat));
        }
        attention.log_sum_exp = at::stack(all).narrow(1, first, tokens);
      }
      statistics.Add(attention);
    }
    return statistics;
  }
  at::Tensor Attention(int64_t query_head, int64_t window) {
    return NaiveAttention(queries_[query_head], keys_[query_head / kGroup], kScale, window);
  }

  const at::Tensor queries_ = SeededNormal({kKvHeads * kGroup, kTokens, kHeadDim}, 1) * 2;
  const at::Tensor keys_ = SeededNormal({kKvHeads, kTokens, kHeadDim}, 2);
};

TEST_F(QueryStatisticsTest, AttentionSumsAreTheWholeSoftmaxsHoweverItIsShown) {
  for (const int64_t window : {0, 20}) {
    at::Tensor expected = at::zeros({kKvHeads, kTokens}, at::kDouble);
    for (int64_t h = 0; h < kKvHeads * kGroup; ++h) {
      expected[h / kGroup].add_(Attention(h, window).sum(0) / kGroup);
    }
    for (const int64_t chunk : {1, 32, 90}) {
      for (const auto& [weights, log_sum_exp] :
           {std::pair{true, false}, std::pair{false, true}, std::pair{false, false}}) {
        EXPECT_TRUE(at::allclose(
            Gathered(chunk, window, weights, log_sum_exp).attention_sums().to(at::kDouble),
            expected, 1e-4, 1e-5))
            << window << " " << chunk << " " << weights << log_sum_exp;
      }
    }
  }
}

TEST_F(QueryStatisticsTest, BlocksOfAttentionAreTheWhole) {
  LayerAttention attention;
  attention.queries = queries_;
  attention.keys = keys_;
  attention.scale = kScale;
  attention.window = 20;
  int64_t first = 0;
  // 7 queries a block.
  ForEachAttentionBlock(
      attention,
      [&](const at::Tensor& weights, int64_t first_entry) {
        EXPECT_LE(weights.size(1), 7);
        const at::Tensor expected = Attention(4, 20)
                                        .narrow(0, first, weights.size(1))
                                        .narrow(1, first_entry, weights.size(2));
        EXPECT_TRUE(at::allclose(weights[4].to(at::kDouble), expected, 1e-4, 1e-6));
        first += weights.size(1);
      },
      7 * 2 * kKvHeads * kGroup * kTokens * 4);
  EXPECT_EQ(first, kTokens);
}

TEST_F(QueryStatisticsTest, RecentQueriesAreTheLastOnes) {
  for (const int64_t chunk : {1, 7, 50, 64, 90}) {
    const at::Tensor recent = Gathered(chunk, 0, false, false).recent();
    EXPECT_TRUE(at::equal(recent.view({kKvHeads * kGroup, kRecentQueries, kHeadDim}),
                          queries_.narrow(1, kTokens - kRecentQueries, kRecentQueries)))
        << chunk;
  }
}

TEST_F(QueryStatisticsTest, FewQueriesAreAllRecent) {
  QueryStatistics statistics(kKvHeads, {}, {true, true, false});
  LayerAttention attention;
  attention.queries = queries_.narrow(1, 0, 3);
  attention.keys = keys_;
  statistics.Add(attention);
  EXPECT_EQ(statistics.recent().size(2), 3);
  EXPECT_FALSE(statistics.attention_sums().defined());
  // All of them are left out of the moments.
  EXPECT_TRUE(at::equal(statistics.means(), at::zeros({kKvHeads, kGroup, kHeadDim})));
  EXPECT_TRUE(
      at::equal(statistics.covariances(), at::zeros({kKvHeads, kGroup, kHeadDim, kHeadDim})));
}

TEST_F(QueryStatisticsTest, MomentsAreThoseOfUnrotatedQueriesBehindTheFirstFour) {
  const QueryStatistics statistics = Gathered(7, 0, false, false);
  const at::Tensor means = statistics.means();
  const at::Tensor covariances = statistics.covariances();
  for (int64_t h = 0; h < kKvHeads * kGroup; ++h) {
    // Turned back one by one.
    at::Tensor plain = queries_[h].to(at::kDouble).clone();
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t pair = 0; pair < 2; ++pair) {
        const double angle = static_cast<double>(t) * kFrequencies[static_cast<size_t>(pair)];
        const double a = queries_[h][t][pair].item<double>();
        const double b = queries_[h][t][pair + 2].item<double>();
        plain[t][pair] = a * std::cos(angle) + b * std::sin(angle);
        plain[t][pair + 2] = b * std::cos(angle) - a * std::sin(angle);
      }
    }
    plain = plain.narrow(0, 4, kTokens - 4);
    const at::Tensor mean = plain.mean(0);
    const at::Tensor centred = plain - mean;
    EXPECT_TRUE(at::allclose(means[h / kGroup][h % kGroup].to(at::kDouble), mean, 1e-4, 1e-5));
    EXPECT_TRUE(at::allclose(covariances[h / kGroup][h % kGroup].to(at::kDouble),
                             at::mm(centred.t(), centred) / (kTokens - 4), 1e-4, 1e-4));
  }
}

}  // namespace
}  // namespace kvp

// Each formula against a slow version of it.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ATen/ATen.h"
#include "gtest/gtest.h"
#include "policy/heuristics/expected_attention.h"
#include "policy/heuristics/h2o.h"
#include "policy/heuristics/q_filter.h"
#include "policy/heuristics/recent_attention.h"
#include "policy/heuristics/snap_kv.h"
#include "policy/heuristics/tova.h"
#include "policy/policy_input.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

constexpr int64_t kHeads = 3;
constexpr int64_t kGroup = 2;
constexpr int64_t kHeadDim = 6;

// One element of a tensor on the CPU.
double At(const at::Tensor& tensor, const std::vector<int64_t>& index) {
  int64_t offset = 0;
  for (size_t d = 0; d < index.size(); ++d) {
    offset += index[d] * tensor.stride(static_cast<int64_t>(d));
  }
  if (tensor.scalar_type() == at::kLong) {
    return static_cast<double>(tensor.data_ptr<int64_t>()[offset]);
  }
  return tensor.data_ptr<float>()[offset];
}

PolicyInput Input(int64_t tokens, int64_t window = 0) {
  PolicyInput input;
  input.heads = {{0, 0}, {0, 1}, {1, 0}};
  input.keys = SeededNormal({kHeads, tokens, kHeadDim}, 1);
  input.values = SeededNormal({kHeads, tokens, kHeadDim}, 2);
  input.positions = at::arange(tokens, at::kLong);
  input.queries.recent =
      SeededNormal({kHeads, kGroup, std::min(tokens, kRecentQueries), kHeadDim}, 3);
  input.queries.attention_sums = SeededUniform({kHeads, tokens}, 4);
  input.queries.scale = 0.7;
  input.queries.windows = {0, 0, window};
  return input;
}

// The weights of one query, by the definition; `query` counts the recent ones.
std::vector<double> Weights(const PolicyInput& input, int64_t head, int64_t member, int64_t query) {
  const int64_t tokens = input.keys.size(1);
  const int64_t at = tokens - input.queries.recent.size(2) + query;
  const int64_t window = input.queries.windows[static_cast<size_t>(head)];
  std::vector<double> weights(static_cast<size_t>(tokens), 0);
  double sum = 0;
  for (int64_t i = 0; i <= at; ++i) {
    if (window > 0 && i <= at - window) continue;
    double dot = 0;
    for (int64_t c = 0; c < kHeadDim; ++c) {
      dot += At(input.queries.recent, {head, member, query, c}) * At(input.keys, {head, i, c});
    }
    weights[static_cast<size_t>(i)] = std::exp(input.queries.scale * dot);
    sum += weights[static_cast<size_t>(i)];
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

TEST(RecentAttentionTest, IsTheSoftmaxOverWhatEachQuerySees) {
  const PolicyInput input = Input(20, /*window=*/5);
  for (const int64_t head : {1, 2}) {
    const at::Tensor attention = RecentAttention(input, head, 4);
    for (int64_t member = 0; member < kGroup; ++member) {
      for (int64_t query = 0; query < 4; ++query) {
        const std::vector<double> expected = Weights(input, head, member, 16 + query);
        for (int64_t i = 0; i < 20; ++i) {
          ASSERT_NEAR(At(attention, {member, query, i}), expected[static_cast<size_t>(i)], 1e-5);
        }
      }
    }
  }
}

TEST(H2oTest, HalfOfEveryBudgetIsTheHeaviestHalfTheMostRecent) {
  const PolicyInput input = Input(50);
  const at::Tensor scores = H2oScores(input);
  for (int64_t head = 0; head < kHeads; ++head) {
    const at::Tensor order = scores[head].argsort(-1, /*descending=*/true);
    const at::Tensor heaviest = input.queries.attention_sums[head].argsort(-1, /*descending=*/true);
    for (int64_t budget = 1; budget <= 50; ++budget) {
      std::vector<bool> kept(50, false);
      for (int64_t r = 0; r < budget; ++r) kept[static_cast<size_t>(At(order, {r}))] = true;
      for (int64_t r = 0; r < (budget + 1) / 2; ++r) EXPECT_TRUE(kept[static_cast<size_t>(49 - r)]);
      for (int64_t r = 0; r < budget / 2; ++r) {
        EXPECT_TRUE(kept[static_cast<size_t>(At(heaviest, {r}))]) << head << " " << budget;
      }
    }
  }
}

TEST(TovaTest, IsTheLastQuerysAttentionOverTheHeadsOfTheLayer) {
  const PolicyInput input = Input(30, /*window=*/9);
  const at::Tensor scores = TovaScores(input);
  for (int64_t i = 0; i < 29; ++i) {
    double first_layer = 0;
    for (const int64_t head : {0, 1}) {
      for (int64_t member = 0; member < kGroup; ++member) {
        first_layer += Weights(input, head, member, 29)[static_cast<size_t>(i)] / 4;
      }
    }
    EXPECT_NEAR(At(scores, {0, i}), first_layer, 1e-5);
    EXPECT_NEAR(At(scores, {1, i}), first_layer, 1e-5);
    EXPECT_NEAR(At(scores, {2, i}),
                (Weights(input, 2, 0, 29)[static_cast<size_t>(i)] +
                 Weights(input, 2, 1, 29)[static_cast<size_t>(i)]) /
                    2,
                1e-5);
  }
  EXPECT_EQ(At(scores.argmax(1), {2}), 29);
}

TEST(SnapKvTest, AgreesWithALoop) {
  constexpr int64_t kTokens = 64 + 13;
  const PolicyInput input = Input(kTokens, /*window=*/40);
  const at::Tensor scores = SnapKvScores(input);
  for (int64_t head = 0; head < kHeads; ++head) {
    std::vector<double> expected(13, 0);
    for (int64_t member = 0; member < kGroup; ++member) {
      for (int64_t query = 0; query < 64; ++query) {
        const std::vector<double> weights = Weights(input, head, member, query);
        for (int64_t i = 0; i < 13; ++i) {
          for (int64_t j = std::max<int64_t>(0, i - 2); j <= std::min<int64_t>(12, i + 2); ++j) {
            expected[static_cast<size_t>(i)] += weights[static_cast<size_t>(j)] / 5 / 64 / kGroup;
          }
        }
      }
    }
    for (int64_t i = 0; i < 13; ++i) {
      ASSERT_NEAR(At(scores, {head, i}), expected[static_cast<size_t>(i)], 1e-5)
          << head << " " << i;
    }
    const at::Tensor order = scores[head].argsort(-1, /*descending=*/true);
    EXPECT_TRUE(
        at::equal(order.narrow(0, 0, 64), at::arange(kTokens - 1, kTokens - 65, -1, at::kLong)));
  }
}

TEST(SnapKvTest, AShortSequenceIsAllWindow) {
  const at::Tensor order = SnapKvScores(Input(10))[1].argsort(-1, /*descending=*/true);
  EXPECT_TRUE(at::equal(order, at::arange(9, -1, -1, at::kLong)));
}

TEST(ExpectedAttentionTest, IsTheExpectationOverGaussianQueriesOfTheExponential) {
  constexpr int64_t kTokens = 12;
  PolicyInput input = Input(kTokens);
  input.positions = at::arange(kTokens, at::kLong) + 100;
  input.rope_frequencies = {0.01, 0.003};
  input.queries.means = SeededNormal({kHeads, kGroup, kHeadDim}, 5);
  const at::Tensor roots = SeededNormal({kHeads, kGroup, kHeadDim, kHeadDim}, 6) * 0.4;
  input.queries.covariances = at::matmul(roots, roots.transpose(2, 3));
  const at::Tensor scores = ExpectedAttentionScores(input);
  // Queries with these moments, exactly: mean ± √head_dim times a column of the root, turned by the
  // mean of the rotations. For Gaussian x, E[exp(x)] = exp(E[x] + Var[x]/2).
  for (int64_t head = 0; head < kHeads; ++head) {
    std::vector<double> expected(kTokens, 0);
    for (int64_t member = 0; member < kGroup; ++member) {
      std::vector<std::vector<double>> queries;
      for (int64_t column = 0; column < kHeadDim; ++column) {
        for (const double sign : {-1.0, 1.0}) {
          std::vector<double> query;
          for (int64_t c = 0; c < kHeadDim; ++c) {
            query.push_back(At(input.queries.means, {head, member, c}) +
                            sign * std::sqrt(6.0) * At(roots, {head, member, c, column}));
          }
          std::vector<double> turned = query;
          for (int64_t pair = 0; pair < 2; ++pair) {
            double cosine = 0, sine = 0;
            for (int64_t t = 112; t < 112 + 512; ++t) {
              const double angle =
                  static_cast<double>(t) * input.rope_frequencies[static_cast<size_t>(pair)];
              cosine += std::cos(angle) / 512;
              sine += std::sin(angle) / 512;
            }
            const double a = query[static_cast<size_t>(pair)];
            const double b = query[static_cast<size_t>(pair + 2)];
            turned[static_cast<size_t>(pair)] = a * cosine - b * sine;
            turned[static_cast<size_t>(pair + 2)] = b * cosine + a * sine;
          }
          queries.push_back(turned);
        }
      }
      std::vector<double> weights;
      double sum = 0;
      for (int64_t i = 4; i < kTokens; ++i) {
        std::vector<double> logits;
        double mean = 0, variance = 0;
        for (const auto& query : queries) {
          double dot = 0;
          for (int64_t c = 0; c < kHeadDim; ++c) {
            dot += query[static_cast<size_t>(c)] * At(input.keys, {head, i, c});
          }
          logits.push_back(input.queries.scale * dot);
          mean += logits.back() / static_cast<double>(queries.size());
        }
        for (const double logit : logits) {
          variance += (logit - mean) * (logit - mean) / static_cast<double>(queries.size());
        }
        weights.push_back(std::exp(mean + variance / 2));
        sum += weights.back();
      }
      for (int64_t i = 4; i < kTokens; ++i) {
        double squares = 0;
        for (int64_t c = 0; c < kHeadDim; ++c)
          squares += std::pow(At(input.values, {head, i, c}), 2);
        expected[static_cast<size_t>(i)] +=
            weights[static_cast<size_t>(i - 4)] / sum * std::sqrt(squares) / kGroup;
      }
    }
    for (int64_t i = 4; i < kTokens; ++i) {
      ASSERT_NEAR(At(scores, {head, i}), expected[static_cast<size_t>(i)],
                  1e-4 + 1e-3 * expected[static_cast<size_t>(i)]);
    }
    EXPECT_GT(scores[head].narrow(0, 0, 4).min().item<float>(),
              scores[head].narrow(0, 4, kTokens - 4).max().item<float>());
  }
}

TEST(ExpectedAttentionTest, NothingBehindTheSinksIsNoProblem) {
  PolicyInput input = Input(3);
  input.queries.means = at::zeros({kHeads, kGroup, kHeadDim});
  input.queries.covariances = at::zeros({kHeads, kGroup, kHeadDim, kHeadDim});
  EXPECT_EQ(ExpectedAttentionScores(input).sizes(), at::IntArrayRef({kHeads, 3}));
}

TEST(QFilterTest, TheFilterIsTheDirectionInWhichQueriesAreLargest) {
  at::Tensor queries =
      SeededNormal({300, kHeadDim}, 8) + at::tensor({3.f, 0.f, -4.f, 0.f, 0.f, 0.f});
  QFilterEstimator estimator(kHeadDim);
  estimator.Add(queries.narrow(0, 0, 100));
  estimator.Add(queries.narrow(0, 100, 200));
  EXPECT_EQ(estimator.queries(), 300);
  const at::Tensor filter = estimator.Filter().to(at::kDouble);
  EXPECT_NEAR(filter.norm().item<double>(), 1, 1e-6);
  // By power iteration.
  queries = queries.to(at::kDouble);
  at::Tensor direction = queries.sum(0);
  for (int i = 0; i < 200; ++i) {
    direction = at::mv(queries.t(), at::mv(queries, direction));
    direction = direction / direction.norm();
  }
  EXPECT_TRUE(at::allclose(filter, direction, 1e-5, 1e-5));
  EXPECT_GT(at::mv(queries, filter).mean().item<double>(), 0);
}

TEST(QFilterTest, ScoresAreProjections) {
  const at::Tensor keys = SeededNormal({2, 7, kHeadDim}, 1);
  const at::Tensor filters = SeededNormal({2, kHeadDim}, 2);
  const at::Tensor scores = QFilterScores(keys, filters);
  for (int64_t head = 0; head < 2; ++head) {
    for (int64_t i = 0; i < 7; ++i) {
      double dot = 0;
      for (int64_t c = 0; c < kHeadDim; ++c) dot += At(keys, {head, i, c}) * At(filters, {head, c});
      EXPECT_NEAR(At(scores, {head, i}), dot, 1e-5);
    }
  }
}

}  // namespace
}  // namespace kvp

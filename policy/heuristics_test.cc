#include "policy/heuristics.h"

#include <cmath>

#include "ATen/ATen.h"
#include "gtest/gtest.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

constexpr int64_t kHeads = 3;
constexpr int64_t kTokens = 11;
constexpr int64_t kHeadDim = 5;

at::Tensor Keys() { return SeededUniform({kHeads, kTokens, kHeadDim}, 1) - 0.3; }

TEST(HeuristicsTest, KNormAgreesWithALoop) {
  const at::Tensor keys = Keys();
  const at::Tensor scores = KNormScores(keys);
  for (int64_t h = 0; h < kHeads; ++h) {
    for (int64_t t = 0; t < kTokens; ++t) {
      double squares = 0;
      for (int64_t c = 0; c < kHeadDim; ++c) squares += std::pow(keys[h][t][c].item<double>(), 2);
      EXPECT_NEAR(scores[h][t].item<double>(), -std::sqrt(squares), 1e-6);
    }
  }
}

TEST(HeuristicsTest, KeyDiffAgreesWithALoop) {
  const at::Tensor keys = Keys();
  const at::Tensor scores = KeyDiffScores(keys);
  const auto norm = [](const std::vector<double>& v) {
    double squares = 0;
    for (const double x : v) squares += x * x;
    return std::sqrt(squares);
  };
  for (int64_t h = 0; h < kHeads; ++h) {
    std::vector<std::vector<double>> rows(kTokens, std::vector<double>(kHeadDim));
    std::vector<double> mean(kHeadDim, 0);
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t c = 0; c < kHeadDim; ++c) rows[t][c] = keys[h][t][c].item<double>();
      for (int64_t c = 0; c < kHeadDim; ++c) mean[c] += rows[t][c] / norm(rows[t]) / kTokens;
    }
    for (int64_t t = 0; t < kTokens; ++t) {
      double dot = 0;
      for (int64_t c = 0; c < kHeadDim; ++c) dot += rows[t][c] * mean[c];
      EXPECT_NEAR(scores[h][t].item<double>(), -dot / norm(rows[t]) / norm(mean), 1e-5);
    }
  }
}

TEST(HeuristicsTest, KeyDiffOfAZeroKeyIsANumber) {
  EXPECT_FALSE(KeyDiffScores(at::zeros({1, 3, 4})).isnan().any().item<bool>());
}

TEST(HeuristicsTest, StreamingLlmKeepsTheFirstFourPositionsThenTheMostRecent) {
  const at::Tensor scores = StreamingLlmScores(at::arange(8, at::kLong), 2);
  EXPECT_EQ(scores.sizes(), at::IntArrayRef({2, 8}));
  const at::Tensor order = scores[1].argsort(-1, /*descending=*/true);
  EXPECT_TRUE(at::equal(order, at::tensor({0, 1, 2, 3, 7, 6, 5, 4}, at::kLong)));
}

TEST(HeuristicsTest, StreamingLlmKnowsSinksByPositionNotByIndex) {
  const at::Tensor positions = at::tensor({2, 5, 900000000, 900000001}, at::kLong);
  const at::Tensor order = StreamingLlmScores(positions, 1)[0].argsort(-1, /*descending=*/true);
  EXPECT_TRUE(at::equal(order, at::tensor({0, 3, 2, 1}, at::kLong)));
}

TEST(HeuristicsTest, RandomIsTheSameForAHeadWhateverItsCompany) {
  const at::Tensor both = RandomScores({{0, 0}, {1, 2}}, 100, 5);
  EXPECT_TRUE(at::equal(RandomScores({{1, 2}}, 100, 5)[0], both[1]));
  EXPECT_FALSE(at::equal(both[0], both[1]));
  EXPECT_FALSE(at::equal(RandomScores({{1, 2}}, 100, 6)[0], both[1]));
}

}  // namespace
}  // namespace kvp

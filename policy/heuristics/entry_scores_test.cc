// Each formula against a slow version of it, in loops over doubles.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "ATen/ATen.h"
#include "gtest/gtest.h"
#include "policy/heuristics/cur.h"
#include "policy/heuristics/k_norm.h"
#include "policy/heuristics/key_diff.h"
#include "policy/heuristics/lag_kv.h"
#include "policy/heuristics/leverage.h"
#include "policy/heuristics/random_scores.h"
#include "policy/heuristics/streaming_llm.h"
#include "policy/policy_input.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

constexpr int64_t kHeads = 3;
constexpr int64_t kHeadDim = 6;

PolicyInput Input(int64_t tokens) {
  PolicyInput input;
  input.heads = {{0, 0}, {0, 1}, {1, 0}};
  input.keys = SeededNormal({kHeads, tokens, kHeadDim}, 1) - 0.3;
  input.values = SeededNormal({kHeads, tokens, kHeadDim}, 2) + 0.1;
  input.positions = at::arange(tokens, at::kLong);
  input.sequence_seed = 5;
  return input;
}

using Rows = std::vector<std::vector<double>>;

// One head's vectors [tokens, dim] as numbers.
Rows RowsOf(const at::Tensor& vectors) {
  const at::Tensor wide = vectors.to(at::kDouble).contiguous();
  const double* values = wide.data_ptr<double>();
  Rows rows;
  for (int64_t i = 0; i < wide.size(0); ++i, values += wide.size(1)) {
    rows.emplace_back(values, values + wide.size(1));
  }
  return rows;
}

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
double Norm(const std::vector<double>& v) { return std::sqrt(Dot(v, v)); }

// A head's scores, from its keys and values.
using Reference = std::function<std::vector<double>(const Rows& keys, const Rows& values)>;

void ExpectScores(const at::Tensor& scores, const PolicyInput& input, const Reference& reference,
                  double tolerance) {
  ASSERT_EQ(scores.sizes(), at::IntArrayRef({input.keys.size(0), input.keys.size(1)}));
  for (int64_t h = 0; h < input.keys.size(0); ++h) {
    const std::vector<double> expected = reference(RowsOf(input.keys[h]), RowsOf(input.values[h]));
    const std::vector<double> actual = RowsOf(scores[h].unsqueeze(0))[0];
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(actual[i], expected[i], tolerance) << "head " << h << ", entry " << i;
    }
  }
}

TEST(KNormTest, AgreesWithALoop) {
  const PolicyInput input = Input(11);
  ExpectScores(
      KNormScores(input), input,
      [](const Rows& keys, const Rows&) {
        std::vector<double> scores;
        for (const auto& key : keys) scores.push_back(-Norm(key));
        return scores;
      },
      1e-5);
}

TEST(KeyDiffTest, AgreesWithALoop) {
  const PolicyInput input = Input(11);
  ExpectScores(
      KeyDiffScores(input), input,
      [](const Rows& keys, const Rows&) {
        std::vector<double> mean(kHeadDim, 0);
        for (const auto& key : keys) {
          for (int64_t c = 0; c < kHeadDim; ++c) mean[c] += key[c] / Norm(key);
        }
        std::vector<double> scores;
        for (const auto& key : keys) scores.push_back(-Dot(key, mean) / Norm(key) / Norm(mean));
        return scores;
      },
      1e-5);
}

TEST(KeyDiffTest, OfAZeroKeyIsANumber) {
  PolicyInput input = Input(3);
  input.keys.zero_();
  EXPECT_FALSE(KeyDiffScores(input).isnan().any().item<bool>());
}

TEST(StreamingLlmTest, KeepsTheFirstFourPositionsThenTheMostRecent) {
  const at::Tensor scores = StreamingLlmScores(Input(8));
  EXPECT_EQ(scores.sizes(), at::IntArrayRef({kHeads, 8}));
  const at::Tensor order = scores[1].argsort(-1, /*descending=*/true);
  EXPECT_TRUE(at::equal(order, at::tensor({0, 1, 2, 3, 7, 6, 5, 4}, at::kLong)));
}

TEST(StreamingLlmTest, KnowsSinksByPositionNotByIndex) {
  PolicyInput input = Input(4);
  input.positions = at::tensor({2, 5, 900000000, 900000001}, at::kLong);
  const at::Tensor order = StreamingLlmScores(input)[0].argsort(-1, /*descending=*/true);
  EXPECT_TRUE(at::equal(order, at::tensor({0, 3, 2, 1}, at::kLong)));
}

TEST(RandomTest, IsTheSameForAnEntryWhateverItsCompany) {
  const PolicyInput input = Input(100);
  const at::Tensor all = RandomScores(input);
  EXPECT_FALSE(at::equal(all[0], all[2]));
  PolicyInput alone;
  alone.heads = {{1, 0}};
  alone.keys = alone.values = input.keys.narrow(0, 2, 1).narrow(1, 60, 2);
  alone.positions = at::tensor({60, 61}, at::kLong);
  alone.sequence_seed = 5;
  EXPECT_TRUE(at::equal(RandomScores(alone)[0], all[2].narrow(0, 60, 2)));
  alone.sequence_seed = 6;
  EXPECT_FALSE(at::equal(RandomScores(alone)[0], all[2].narrow(0, 60, 2)));
}

TEST(RandomTest, IsUniformInTheUnitIntervalAndNoHeadFollowsAnother) {
  constexpr int64_t kTokens = 20000;
  const at::Tensor scores = RandomScores(Input(kTokens)).to(at::kDouble);
  EXPECT_GT(scores.min().item<double>(), 0);
  EXPECT_LT(scores.max().item<double>(), 1);
  // Moments of the definition, within four standard errors.
  const double error = 4 / std::sqrt(static_cast<double>(kTokens));
  const at::Tensor centred = scores - 0.5;
  const at::Tensor moments = at::mm(centred, centred.t()) / kTokens * 12;
  for (int64_t a = 0; a < kHeads; ++a) {
    EXPECT_NEAR(centred[a].mean().item<double>() * std::sqrt(12.0), 0, error);
    for (int64_t b = 0; b < kHeads; ++b) {
      EXPECT_NEAR(moments[a][b].item<double>(), a == b ? 1 : 0, error) << a << " " << b;
    }
  }
}

// The parts of keys or of values in LagKV: [entry of the block], for block `block`.
std::vector<double> LagParts(const Rows& vectors, size_t block) {
  const size_t begin = 4 + block * 128;
  std::vector<double> parts;
  double sum = 0;
  for (size_t i = begin; i < begin + 128; ++i) {
    std::vector<double> normalised;
    for (int64_t c = 0; c < kHeadDim; ++c) {
      double least = INFINITY, most = -INFINITY;
      for (size_t j = begin + 128; j < begin + 256; ++j) {
        least = std::min(least, vectors[j][c]);
        most = std::max(most, vectors[j][c]);
      }
      normalised.push_back((vectors[i][c] - least) / (most - least));
    }
    double mean = 0, squares = 0;
    for (const double x : normalised) mean += x / kHeadDim;
    for (const double x : normalised) squares += (x - mean) * (x - mean);
    parts.push_back(std::exp(std::sqrt(squares / (kHeadDim - 1))));
    sum += parts.back();
  }
  for (double& part : parts) part /= sum;
  return parts;
}

TEST(LagKvTest, AgreesWithALoop) {
  // Two blocks have a next one; 128 + 50 entries don't.
  constexpr int64_t kTokens = 4 + 3 * 128 + 50;
  const PolicyInput input = Input(kTokens);
  const at::Tensor scores = LagKvScores(input);
  for (int64_t h = 0; h < kHeads; ++h) {
    const Rows keys = RowsOf(input.keys[h]);
    const Rows values = RowsOf(input.values[h]);
    for (size_t block = 0; block < 2; ++block) {
      std::vector<double> mean = LagParts(keys, block);
      const std::vector<double> value_parts = LagParts(values, block);
      for (size_t i = 0; i < 128; ++i) mean[i] += value_parts[i];
      for (size_t i = 0; i < 128; ++i) {
        int64_t below = 0, close = 0;
        for (size_t j = 0; j < 128; ++j) {
          below += mean[j] < mean[i];
          close += j != i && std::abs(mean[j] - mean[i]) < 1e-7;
        }
        // Rounding may exchange two that are as good as equal.
        ASSERT_NEAR(scores[h][static_cast<int64_t>(4 + block * 128 + i)].item<double>(),
                    below / 128.0, close / 128.0 + 1e-6);
      }
    }
  }
  const at::Tensor order = scores[0].argsort(-1, /*descending=*/true);
  EXPECT_LT(order.narrow(0, 0, 4).max().item<int64_t>(), 4);
  EXPECT_TRUE(
      at::equal(order.narrow(0, 4, 178), at::arange(kTokens - 1, kTokens - 179, -1, at::kLong)));
}

TEST(LagKvTest, WithoutTwoBlocksTheMostRecentStay) {
  const at::Tensor order = LagKvScores(Input(4 + 255))[2].argsort(-1, /*descending=*/true);
  EXPECT_TRUE(at::equal(order.narrow(0, 4, 255), at::arange(258, 3, -1, at::kLong)));
  EXPECT_EQ(LagKvScores(Input(2)).sizes(), at::IntArrayRef({kHeads, 2}));
}

TEST(LagKvTest, AChannelOfOneValueIsNoProblem) {
  PolicyInput input = Input(300);
  input.keys.select(2, 0).fill_(1);
  EXPECT_TRUE(LagKvScores(input).isfinite().all().item<bool>());
}

TEST(CurTest, AgreesWithALoop) {
  const PolicyInput input = Input(16 * 2 + 5);
  ExpectScores(
      CurScores(input), input,
      [](const Rows& keys, const Rows& values) {
        std::vector<double> scores;
        for (size_t i = 0; i < keys.size(); ++i) {
          double key_sum = 0, value_sum = 0;
          for (size_t j = i / 16 * 16; j < std::min(keys.size(), i / 16 * 16 + 16); ++j) {
            key_sum += Dot(keys[j], keys[j]);
            value_sum += Dot(values[j], values[j]);
          }
          scores.push_back(
              i < 4 ? 1 : Dot(keys[i], keys[i]) / key_sum * Dot(values[i], values[i]) / value_sum);
        }
        return scores;
      },
      1e-5);
  PolicyInput zero = Input(20);
  zero.values.zero_();
  EXPECT_FALSE(CurScores(zero).isnan().any().item<bool>());
}

// x of the square system `a` x = `b` by Gauss–Jordan elimination.
std::vector<double> Solve(Rows a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t c = 0; c < n; ++c) {
    size_t pivot = c;
    for (size_t r = c; r < n; ++r) pivot = std::abs(a[r][c]) > std::abs(a[pivot][c]) ? r : pivot;
    std::swap(a[c], a[pivot]);
    std::swap(b[c], b[pivot]);
    for (size_t r = 0; r < n; ++r) {
      if (r == c) continue;
      const double factor = a[r][c] / a[c][c];
      for (size_t k = c; k < n; ++k) a[r][k] -= factor * a[c][k];
      b[r] -= factor * b[c];
    }
  }
  for (size_t c = 0; c < n; ++c) b[c] /= a[c][c];
  return b;
}

TEST(LeverageTest, AgreesWithALoop) {
  PolicyInput input = Input(60);
  input.positions = at::arange(60, at::kLong) * 3;
  input.rope_frequencies = {0.7, 0.1};
  const at::Tensor scores = LeverageScores(input);
  for (int64_t h = 0; h < kHeads; ++h) {
    Rows keys = RowsOf(input.keys[h]);
    for (size_t i = 0; i < keys.size(); ++i) {
      for (int64_t pair = 0; pair < 2; ++pair) {
        const double angle = 3.0 * static_cast<double>(i) * input.rope_frequencies[pair];
        const double a = keys[i][pair], b = keys[i][pair + 2];
        keys[i][pair] = a * std::cos(angle) + b * std::sin(angle);
        keys[i][pair + 2] = b * std::cos(angle) - a * std::sin(angle);
      }
    }
    std::vector<double> mean(kHeadDim, 0);
    for (const auto& key : keys) {
      for (int64_t c = 0; c < kHeadDim; ++c) mean[c] += key[c] / 60;
    }
    const HeadId head = input.heads[h];
    const Rows gaussian = RowsOf(
        SeededNormal({kHeadDim, 48}, MixSeed({5, uint64_t(head.layer), uint64_t(head.kv_head)})));
    Rows sketch(60, std::vector<double>(48, 0));
    for (size_t i = 0; i < 60; ++i) {
      for (size_t s = 0; s < 48; ++s) {
        for (int64_t c = 0; c < kHeadDim; ++c) {
          sketch[i][s] += (keys[i][c] - mean[c]) * gaussian[c][s] / std::sqrt(48.0);
        }
      }
    }
    Rows gram(48, std::vector<double>(48, 0));
    for (size_t r = 0; r < 48; ++r) {
      for (size_t c = 0; c < 48; ++c) {
        for (const auto& row : sketch) gram[r][c] += row[r] * row[c];
      }
      gram[r][r] += 0.01;
    }
    std::vector<double> leverage;
    for (const auto& row : sketch) leverage.push_back(Dot(row, Solve(gram, row)));
    double average = 0, variance = 0;
    for (const double x : leverage) average += x / 60;
    for (const double x : leverage) variance += (x - average) * (x - average) / 60;
    for (int64_t i = 0; i < 60; ++i) {
      ASSERT_NEAR(scores[h][i].item<double>(),
                  (leverage[static_cast<size_t>(i)] - average) / std::sqrt(variance), 2e-3);
    }
  }
}

TEST(LeverageTest, OfOneEntryOrEqualKeysIsANumber) {
  EXPECT_TRUE(LeverageScores(Input(1)).isfinite().all().item<bool>());
  PolicyInput input = Input(9);
  input.keys.fill_(0.5);
  EXPECT_TRUE(LeverageScores(input).isfinite().all().item<bool>());
}

}  // namespace
}  // namespace kvp

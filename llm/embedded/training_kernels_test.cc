#include "llm/embedded/training_kernels.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "gtest/gtest.h"
#include "llm/embedded/retrieval_task.h"

namespace kvp {
namespace {

std::vector<float> Random(size_t size, uint64_t seed, double scale = 1) {
  SplitMix64 random(seed);
  std::vector<float> values(size);
  for (float& value : values) value = scale * (2 * random.Uniform() - 1);
  return values;
}

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// Expects d/dx of dot(function(x), grad_y) to be `gradient`, along some directions.
void ExpectGradient(const std::function<std::vector<float>(const std::vector<float>&)>& function,
                    const std::vector<float>& x, const std::vector<float>& grad_y,
                    const std::vector<float>& gradient) {
  constexpr float kStep = 1e-2;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const std::vector<float> direction = Random(x.size(), seed);
    std::vector<float> above = x, below = x;
    for (size_t i = 0; i < x.size(); ++i) {
      above[i] += kStep * direction[i];
      below[i] -= kStep * direction[i];
    }
    const double numeric =
        (Dot(function(above), grad_y) - Dot(function(below), grad_y)) / (2 * kStep);
    EXPECT_NEAR(Dot(gradient, direction), numeric, 2e-3 * (1 + std::abs(numeric)));
  }
}

TEST(RmsNormTest, MatchesFormulaAndItsGradient) {
  constexpr int kTokens = 3, kDim = 32;
  const std::vector<float> x = Random(kTokens * kDim, 11), weight = Random(kDim, 12),
                           grad_y = Random(kTokens * kDim, 13);
  std::vector<float> rms(kTokens);
  const auto forward = [&](const std::vector<float>& input, const std::vector<float>& scale) {
    std::vector<float> y(input.size());
    RmsNormForward(input.data(), scale.data(), kTokens, kDim, 1e-5f, y.data(), rms.data());
    return y;
  };
  double squares = 0;
  for (int i = 0; i < kDim; ++i) squares += x[i] * x[i];
  EXPECT_NEAR(forward(x, weight)[5], x[5] * weight[5] / std::sqrt(squares / kDim + 1e-5), 1e-5);

  std::vector<float> grad_x(x.size()), grad_weight(kDim);
  RmsNormBackward(x.data(), weight.data(), rms.data(), grad_y.data(), kTokens, kDim, grad_x.data(),
                  grad_weight.data());
  ExpectGradient([&](const auto& input) { return forward(input, weight); }, x, grad_y, grad_x);
  ExpectGradient([&](const auto& scale) { return forward(x, scale); }, weight, grad_y, grad_weight);
}

TEST(RotaryTableTest, ScoresDependOnDistanceAlone) {
  const RotaryTable table(100, 10000.0f);
  const std::vector<float> query = Random(kHeadDim, 1), key = Random(kHeadDim, 2);
  const auto score = [&](int query_position, int key_position) {
    std::vector<float> q = query, k = key;
    table.Rotate(query_position, 1, 1.0f, q.data());
    table.Rotate(key_position, 1, 1.0f, k.data());
    return Dot(q, k);
  };
  EXPECT_NEAR(score(17, 5), score(92, 80), 1e-4);
  EXPECT_GT(std::abs(score(17, 5) - score(17, 6)), 1e-3);
}

TEST(RotaryTableTest, PairsTheHalves) {
  const RotaryTable table(10, 10000.0f);
  std::vector<float> head(kHeadDim);
  head[1] = 1;
  table.Rotate(3, 1, 1.0f, head.data());
  const double angle = 3 * std::pow(10000.0, -2.0 / kHeadDim);
  EXPECT_NEAR(head[1], std::cos(angle), 1e-6);
  EXPECT_NEAR(head[1 + kHeadDim / 2], std::sin(angle), 1e-6);
  table.Rotate(3, 1, -1.0f, head.data());
  EXPECT_NEAR(head[1], 1, 1e-6);
}

TEST(SwiGluTest, MatchesFormulaAndItsGradient) {
  constexpr int kTokens = 2, kDim = 16;
  const std::vector<float> gate_up = Random(kTokens * 2 * kDim, 21, 3),
                           grad_act = Random(kTokens * kDim, 22);
  const auto forward = [&](const std::vector<float>& input) {
    std::vector<float> act(kTokens * kDim);
    SwiGluForward(input.data(), kTokens, kDim, act.data());
    return act;
  };
  EXPECT_NEAR(forward(gate_up)[3], gate_up[3] / (1 + std::exp(-gate_up[3])) * gate_up[kDim + 3],
              1e-5);
  std::vector<float> grad(gate_up.size());
  SwiGluBackward(gate_up.data(), grad_act.data(), kTokens, kDim, grad.data());
  ExpectGradient(forward, gate_up, grad_act, grad);
}

TEST(CrossEntropyTest, GivesLossHitAndGradient) {
  constexpr int kVocabulary = 16;
  const std::vector<float> logits = Random(2 * kVocabulary, 31, 4);
  const int best = std::max_element(logits.begin(), logits.begin() + kVocabulary) - logits.begin();
  const int32_t targets[] = {best, (best + 1) % kVocabulary};
  const float weights[] = {0.5f, 2.0f};
  std::vector<float> gradient = logits;
  float losses[2];
  uint8_t hits[2];
  CrossEntropyInPlace(targets, weights, 2, kVocabulary, gradient.data(), losses, hits);
  double sum = 0;
  for (int i = 0; i < kVocabulary; ++i) sum += std::exp(logits[i]);
  EXPECT_NEAR(losses[0], std::log(sum) - logits[best], 1e-5);
  EXPECT_EQ(hits[0], 1);
  EXPECT_NEAR(gradient[best], 0.5 * (std::exp(logits[best]) / sum - 1), 1e-6);
  EXPECT_NEAR(gradient[(best + 1) % kVocabulary],
              0.5 * std::exp(logits[(best + 1) % kVocabulary]) / sum, 1e-6);
}

class AttentionTest : public testing::TestWithParam<int> {
 protected:
  static constexpr int kQueryHeads = 4, kKvHeads = 2,
                       kStride = (kQueryHeads + 2 * kKvHeads) * kHeadDim;

  std::vector<float> Forward(const std::vector<float>& qkv) {
    std::vector<float> output(GetParam() * kQueryHeads * kHeadDim);
    log_sums_.resize(kQueryHeads * GetParam());
    AttentionForward(qkv.data(), GetParam(), kQueryHeads, kKvHeads, output.data(), log_sums_.data(),
                     &workspace_);
    return output;
  }

  std::vector<float> log_sums_;
  AttentionWorkspace workspace_;
};

TEST_P(AttentionTest, ForwardMatchesTheDefinition) {
  const int tokens = GetParam();
  const std::vector<float> qkv = Random(tokens * kStride, 41, 1.5);
  const std::vector<float> output = Forward(qkv);
  for (int head = 0; head < kQueryHeads; ++head) {
    const int kv_head = head / (kQueryHeads / kKvHeads);
    for (int t : {0, 1, 31, tokens / 2, tokens - 1}) {
      std::vector<double> weights(t + 1);
      double total = 0;
      for (int j = 0; j <= t; ++j) {
        double score = 0;
        for (int k = 0; k < kHeadDim; ++k) {
          score += qkv[t * kStride + head * kHeadDim + k] *
                   qkv[j * kStride + (kQueryHeads + kv_head) * kHeadDim + k];
        }
        total += weights[j] = std::exp(score / std::sqrt(static_cast<double>(kHeadDim)));
      }
      for (int k = 0; k < kHeadDim; ++k) {
        double expected = 0;
        for (int j = 0; j <= t; ++j) {
          expected += weights[j] / total *
                      qkv[j * kStride + (kQueryHeads + kKvHeads + kv_head) * kHeadDim + k];
        }
        EXPECT_NEAR(output[(t * kQueryHeads + head) * kHeadDim + k], expected, 1e-4);
      }
    }
  }
}

TEST_P(AttentionTest, BackwardIsTheGradient) {
  const int tokens = GetParam();
  const std::vector<float> qkv = Random(tokens * kStride, 51, 1.5);
  const std::vector<float> grad_output = Random(tokens * kQueryHeads * kHeadDim, 52);
  const std::vector<float> output = Forward(qkv);
  std::vector<float> gradient(qkv.size());
  AttentionBackward(qkv.data(), output.data(), grad_output.data(), log_sums_.data(), tokens,
                    kQueryHeads, kKvHeads, gradient.data(), &workspace_);
  ExpectGradient([this](const auto& input) { return Forward(input); }, qkv, grad_output, gradient);
}

INSTANTIATE_TEST_SUITE_P(Lengths, AttentionTest, testing::Values(32, 64, 96, 160));

}  // namespace
}  // namespace kvp

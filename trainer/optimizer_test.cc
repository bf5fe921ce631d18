#include "trainer/optimizer.h"

#include <cmath>
#include <limits>

#include "ATen/ATen.h"
#include "policy/seeded_random.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

OptimizerOptions Options() {
  OptimizerOptions options;
  options.learning_rate = 0.1;
  options.weight_decay = 0.05;
  options.clip_norm = 1.5;
  options.steps = 20;
  options.warmup_steps = 4;
  return options;
}

TEST(OptimizerTest, AgreesWithTheFormulasANumberAtATime) {
  constexpr int64_t kHeads = 2;
  constexpr int64_t kParameters = 3;
  const OptimizerOptions options = Options();
  at::Tensor parameters = SeededUniform({kHeads, kParameters}, 1);
  const at::Tensor initial = parameters.clone();
  StackedAdamW optimizer(options, parameters);
  double p[kHeads][kParameters], m[kHeads][kParameters] = {}, v[kHeads][kParameters] = {};
  double average[kHeads][kParameters];
  for (int64_t h = 0; h < kHeads; ++h) {
    for (int64_t i = 0; i < kParameters; ++i) {
      p[h][i] = average[h][i] = initial[h][i].item<double>();
    }
  }
  for (int64_t step = 0; step < 20; ++step) {
    const at::Tensor gradients =
        (SeededUniform({kHeads, kParameters}, MixSeed({uint64_t(step)})) - 0.4) * 4;
    const at::Tensor norms = optimizer.Step(step, gradients);
    for (int64_t h = 0; h < kHeads; ++h) {
      double norm = 0;
      for (int64_t i = 0; i < kParameters; ++i) norm += std::pow(gradients[h][i].item<double>(), 2);
      norm = std::sqrt(norm);
      EXPECT_NEAR(norms[h].item<double>(), norm, 1e-5);
      for (int64_t i = 0; i < kParameters; ++i) {
        const double g = gradients[h][i].item<double>() * std::min(1.0, options.clip_norm / norm);
        m[h][i] = 0.9 * m[h][i] + 0.1 * g;
        v[h][i] = 0.999 * v[h][i] + 0.001 * g * g;
        const double mean = m[h][i] / (1 - std::pow(0.9, step + 1));
        const double square = v[h][i] / (1 - std::pow(0.999, step + 1));
        p[h][i] -= LearningRate(options, step) *
                   (mean / (std::sqrt(square) + 1e-8) + options.weight_decay * p[h][i]);
        const double decay = std::min(0.99, (step + 1.0) / (step + 10.0));
        average[h][i] = decay * average[h][i] + (1 - decay) * p[h][i];
      }
    }
  }
  for (int64_t h = 0; h < kHeads; ++h) {
    for (int64_t i = 0; i < kParameters; ++i) {
      EXPECT_NEAR(parameters[h][i].item<double>(), p[h][i], 1e-4);
      EXPECT_NEAR(optimizer.average()[h][i].item<double>(), average[h][i], 1e-4);
    }
  }
}

TEST(OptimizerTest, RateRisesLinearlyThenFallsAsACosine) {
  const OptimizerOptions options = Options();
  EXPECT_DOUBLE_EQ(LearningRate(options, 0), 0.025);
  EXPECT_DOUBLE_EQ(LearningRate(options, 3), 0.1);
  EXPECT_DOUBLE_EQ(LearningRate(options, 4), 0.1);
  EXPECT_NEAR(LearningRate(options, 12), 0.1 * (0.01 + 0.99 / 2), 1e-12);
  EXPECT_NEAR(LearningRate(options, 20), 0.001, 1e-12);
}

TEST(OptimizerTest, AHeadWithAGradientThatIsNoNumberStopsAlone) {
  at::Tensor parameters = at::ones({2, 3});
  StackedAdamW optimizer(Options(), parameters);
  at::Tensor gradients = at::ones({2, 3});
  gradients[0][1] = std::numeric_limits<float>::quiet_NaN();
  optimizer.Step(0, gradients);
  optimizer.Step(1, at::ones({2, 3}));
  EXPECT_TRUE(at::equal(parameters[0], at::ones({3})));
  EXPECT_LT(parameters[1].max().item<double>(), 1);
  EXPECT_FALSE(optimizer.active()[0].item<bool>());
  EXPECT_TRUE(optimizer.active()[1].item<bool>());
  EXPECT_TRUE(optimizer.average().isfinite().all().item<bool>());
}

TEST(OptimizerTest, ImpossibleOptionsAreRefusedByField) {
  OptimizerOptions options;
  options.learning_rate = -1;
  EXPECT_THAT(options.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("learning_rate is -1")));
  options = OptimizerOptions();
  options.ema_decay = 1;
  EXPECT_THAT(options.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ema_decay is 1")));
}

}  // namespace
}  // namespace kvp

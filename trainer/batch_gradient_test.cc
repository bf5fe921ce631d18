#include "trainer/batch_gradient.h"

#include <tuple>

#include "ATen/ATen.h"
#include "policy/seeded_random.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

constexpr int64_t kHeadDim = 6;

GradientOptions Options() {
  GradientOptions options;
  options.shape.head_dim = kHeadDim;
  options.shape.width = 10;
  options.shape.position_features = 6;
  options.shape.rope_frequencies = {0.3};
  options.seed = 4;
  return options;
}

// Contexts of different lengths, one of them longer than a tile.
std::vector<BatchContext> Contexts(int64_t heads) {
  std::vector<BatchContext> contexts;
  for (const int64_t entries : {30, 700, 41, 25}) {
    const uint64_t number = contexts.size();
    BatchContext& context = contexts.emplace_back();
    context.number = static_cast<int64_t>(number);
    context.tensors.keys = SeededUniform({heads, entries, kHeadDim}, MixSeed({number, 1})) - 0.5;
    context.tensors.values = SeededUniform({heads, entries, kHeadDim}, MixSeed({number, 2})) - 0.5;
    context.tensors.importance = SeededUniform({heads, entries}, MixSeed({number, 3})).pow(6);
    context.tensors.whole = at::ones({heads}, at::kBool);
  }
  return contexts;
}

std::unique_ptr<Objective> Make(const std::string& name) {
  ObjectiveOptions options;
  options.name = name;
  return MakeObjective(options).value();
}

at::Tensor Parameters(const AgentShape& shape, int64_t heads) {
  return SeededUniform({heads, ParameterCount(shape)}, 9) - 0.5;
}

BatchGradient Compute(const GradientOptions& options, const std::string& objective,
                      const at::Tensor& parameters, const std::vector<BatchContext>& contexts) {
  return ComputeBatchGradient(options, {0, parameters.size(0)}, *Make(objective), parameters,
                              /*step=*/3, contexts, static_cast<int64_t>(contexts.size()));
}

void ExpectClose(const BatchGradient& a, const BatchGradient& b, double tolerance) {
  EXPECT_TRUE(at::allclose(a.loss, b.loss, tolerance, tolerance));
  EXPECT_LT(((a.gradient - b.gradient).norm() / b.gradient.norm()).item<double>(), tolerance);
  EXPECT_GT(b.gradient.norm().item<double>(), 0);
}

TEST(BatchGradientTest, TheFusedPassGivesAutogradsLossesAndGradients) {
  for (const int64_t sampled : {0, 20}) {
    for (const std::string& objective : ObjectiveNames()) {
      SCOPED_TRACE(objective);
      GradientOptions options = Options();
      options.sampled_entries = sampled;
      const at::Tensor parameters = Parameters(options.shape, 3);
      const BatchGradient fused = Compute(options, objective, parameters, Contexts(3));
      options.fused = false;
      ExpectClose(fused, Compute(options, objective, parameters, Contexts(3)), 1e-3);
    }
  }
}

TEST(BatchGradientTest, TheGradientIsTheSlopeOfTheLoss) {
  const GradientOptions options = Options();
  const at::Tensor parameters = Parameters(options.shape, 2);
  const BatchGradient at_parameters = Compute(options, "exact", parameters, Contexts(2));
  // Uphill, each head at its own pace.
  const at::Tensor direction =
      at_parameters.gradient / std::get<0>(at_parameters.gradient.abs().max(1, true));
  constexpr double kStep = 2e-3;
  const at::Tensor up = Compute(options, "exact", parameters + direction * kStep, Contexts(2)).loss;
  const at::Tensor down =
      Compute(options, "exact", parameters - direction * kStep, Contexts(2)).loss;
  const at::Tensor slope = (at_parameters.gradient * direction).sum(1).to(at::kDouble);
  EXPECT_TRUE(at::allclose((up - down) / (2 * kStep), slope, 2e-2, 1e-4));
  EXPECT_GT(slope.abs().min().item<double>(), 5e-3);
}

TEST(BatchGradientTest, PassesThatDontFitAreMadeAgainWithTheSameResult) {
  GradientOptions options = Options();
  const at::Tensor parameters = Parameters(options.shape, 3);
  const BatchGradient kept = Compute(options, "paper", parameters, Contexts(3));
  options.kept_bytes = 0;
  const BatchGradient again = Compute(options, "paper", parameters, Contexts(3));
  EXPECT_TRUE(at::equal(again.gradient, kept.gradient));
  EXPECT_TRUE(at::equal(again.loss, kept.loss));
}

TEST(BatchGradientTest, SharesOfABatchAddUpToIt) {
  const GradientOptions options = Options();
  const at::Tensor parameters = Parameters(options.shape, 2);
  const std::vector<BatchContext> contexts = Contexts(2);
  const BatchGradient whole = Compute(options, "rloo", parameters, contexts);
  const auto share = [&](size_t begin, size_t end) {
    return ComputeBatchGradient(options, {0, 2}, *Make("rloo"), parameters, 3,
                                absl::MakeSpan(contexts).subspan(begin, end - begin), 4);
  };
  const BatchGradient first = share(0, 1);
  const BatchGradient second = share(1, 4);
  ExpectClose({first.loss + second.loss, first.gradient + second.gradient}, whole, 1e-5);
}

TEST(BatchGradientTest, AHeadsBitsDontDependOnItsCompany) {
  const GradientOptions options = Options();
  const at::Tensor parameters = Parameters(options.shape, 3);
  const std::vector<BatchContext> contexts = Contexts(3);
  std::vector<BatchContext> of_head = contexts;
  for (BatchContext& context : of_head) {
    context.tensors.keys = context.tensors.keys.narrow(0, 2, 1);
    context.tensors.values = context.tensors.values.narrow(0, 2, 1);
    context.tensors.importance = context.tensors.importance.narrow(0, 2, 1);
    context.tensors.whole = context.tensors.whole.narrow(0, 2, 1);
  }
  for (const std::string& objective : ObjectiveNames()) {
    const BatchGradient all = Compute(options, objective, parameters, contexts);
    const BatchGradient one =
        ComputeBatchGradient(options, {2, 3}, *Make(objective), parameters.narrow(0, 2, 1), 3,
                             of_head, static_cast<int64_t>(of_head.size()));
    EXPECT_TRUE(at::equal(one.gradient[0], all.gradient[2])) << objective;
  }
}

TEST(BatchGradientTest, HeadsThatLackATraceLearnNothingFromIt) {
  const GradientOptions options = Options();
  const at::Tensor parameters = Parameters(options.shape, 2);
  std::vector<BatchContext> contexts = Contexts(2);
  contexts.resize(1);
  contexts[0].tensors.importance[1].zero_();
  const BatchGradient gradient = Compute(options, "exact", parameters, contexts);
  EXPECT_GT(gradient.gradient[0].abs().sum().item<double>(), 0);
  EXPECT_EQ(gradient.gradient[1].abs().sum().item<double>(), 0);
}

TEST(BatchGradientTest, InBf16TheGradientIsThatOfFp32ToAFewPercent) {
  GradientOptions options = Options();
  const at::Tensor parameters = Parameters(options.shape, 2);
  const BatchGradient full = Compute(options, "exact", parameters, Contexts(2));
  for (const bool fused : {true, false}) {
    options.fused = fused;
    options.dtype = at::kBFloat16;
    const BatchGradient rounded = Compute(options, "exact", parameters, Contexts(2));
    EXPECT_TRUE(at::allclose(rounded.loss, full.loss, 1e-2));
    EXPECT_LT(((rounded.gradient - full.gradient).norm() / full.gradient.norm()).item<double>(),
              0.1);
    EXPECT_FALSE(at::equal(rounded.gradient, full.gradient));
  }
}

}  // namespace
}  // namespace kvp

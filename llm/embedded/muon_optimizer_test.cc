#include "llm/embedded/muon_optimizer.h"

#include <ATen/ATen.h>

#include <vector>

#include "gtest/gtest.h"

namespace kvp {
namespace {

// Deterministic and of full rank.
at::Tensor Matrix(int64_t rows, int64_t columns) {
  return at::arange(rows * columns, at::kFloat).mul(1.7).sin().reshape({rows, columns});
}

TEST(OrthogonalizeTest, SingularValuesComeCloseToOne) {
  for (const auto& [rows, columns] : {std::pair<int, int>{24, 24}, {64, 16}, {16, 64}}) {
    const at::Tensor input = Matrix(rows, columns) + at::eye(rows, columns, at::kFloat);
    const at::Tensor result = Orthogonalize(input, /*use_bf16=*/false);
    ASSERT_EQ(result.sizes(), input.sizes());
    const at::Tensor x = rows < columns ? result : result.t();
    // Squared singular values are the Gram matrix's eigenvalues: their sum and its square's say
    // enough.
    const at::Tensor gram = at::mm(x, x.t());
    const double size = gram.size(0);
    EXPECT_NEAR(gram.trace().item<double>() / size, 0.85, 0.35) << rows << " x " << columns;
    EXPECT_LT(gram.norm().item<double>() / std::sqrt(size), 1.3);
  }
}

TEST(MuonOptimizerTest, BlocksAreOrthogonalizedOnTheirOwn) {
  std::vector<at::Tensor> parameters = {at::zeros({24, 16})};
  MuonOptions options;
  MuonOptimizer optimizer(options, {{{16, 8}}}, parameters, /*use_bf16=*/false);
  at::Tensor gradient = Matrix(24, 16);
  gradient.narrow(0, 0, 16).mul_(1000);  // Must not drown the other block.
  optimizer.Update(0, 1, 1.0, gradient, &parameters[0]);
  const at::Tensor expected =
      Orthogonalize(gradient.narrow(0, 16, 8), false).mul(-options.muon_rate);
  EXPECT_TRUE(parameters[0].narrow(0, 16, 8).allclose(expected, 1e-3, 1e-5));
}

TEST(MuonOptimizerTest, AdamsFirstStepHasTheRatesSize) {
  std::vector<at::Tensor> parameters = {at::ones({4})};
  MuonOptions options;
  options.adam_rate = 0.25;
  MuonOptimizer optimizer(options, {{}}, parameters, /*use_bf16=*/false);
  optimizer.Update(0, 1, 0.5, at::tensor({3.0f, -0.1f, 20.0f, 0.0f}), &parameters[0]);
  EXPECT_TRUE(parameters[0].allclose(at::tensor({0.875f, 1.125f, 0.875f, 1.0f}), 1e-4, 1e-6));
}

TEST(MuonOptimizerTest, StateHoldsAllThatTheNextStepNeeds) {
  const at::Tensor gradient = Matrix(8, 8);
  std::vector<at::Tensor> parameters = {at::ones({8, 8})};
  MuonOptimizer first(MuonOptions(), {{{8}}}, parameters, false);
  first.Update(0, 1, 1.0, gradient, &parameters[0]);
  std::vector<at::Tensor> copy = {parameters[0].clone()};
  MuonOptimizer second(MuonOptions(), {{{8}}}, copy, false);
  for (size_t i = 0; i < first.state().size(); ++i) second.state()[i].copy_(first.state()[i]);
  first.Update(0, 2, 1.0, gradient.t().contiguous(), &parameters[0]);
  second.Update(0, 2, 1.0, gradient.t().contiguous(), &copy[0]);
  EXPECT_TRUE(parameters[0].equal(copy[0]));
}

}  // namespace
}  // namespace kvp

#include "policy/agent_pass.h"

#include <utility>

#include "ATen/ATen.h"
#include "policy/seeded_random.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

constexpr int64_t kHeads = 3;
constexpr int64_t kRows = 37;

AgentShape KvpShape() {
  AgentShape shape;
  shape.head_dim = 6;
  shape.width = 21;
  shape.hidden_layers = 3;
  shape.position_features = 8;
  shape.rope_frequencies = {1, 0.2};
  return shape;
}

AgentShape TableShape() {
  AgentShape shape = PaperAgentShape(6, 50);
  shape.width = 19;
  return shape;
}

at::Tensor RandomParameters(const AgentShape& shape) {
  return SeededUniform({kHeads, ParameterCount(shape)}, 5) * 1.4 - 0.7;
}

AgentInputs Inputs(const AgentShape& shape, const at::Tensor& positions) {
  return MakeAgentInputs(shape, SeededUniform({kHeads, kRows, 6}, 1) * 4 - 2,
                         SeededUniform({kHeads, kRows, 6}, 2) * 4 - 2, positions);
}

// fp64 by autograd over the network as written in AgentScores' formulas.
at::Tensor ReferenceScores(const AgentShape& shape, const AgentParameters& parameters,
                           const AgentInputs& inputs) {
  const auto linear = [&](const std::string& name, const at::Tensor& x) {
    return x.matmul(parameters.at(name + ".weight").transpose(1, 2)) +
           parameters.at(name + ".bias").unsqueeze(1);
  };
  const auto norm = [&](const std::string& name, const at::Tensor& x) {
    const at::Tensor centred = x - x.mean(-1, true);
    return centred / (centred.pow(2).mean(-1, true) + 1e-5).sqrt() *
               parameters.at(name + ".weight").unsqueeze(1) +
           parameters.at(name + ".bias").unsqueeze(1);
  };
  const at::Tensor features =
      shape.position_table > 0
          ? norm("position_norm",
                 parameters.at("position.weight").index_select(1, inputs.positions))
          : inputs.features.to(at::kDouble).expand({kHeads, kRows, shape.position_features});
  at::Tensor x =
      at::cat({norm("key_norm", linear("key", inputs.keys.to(at::kDouble))),
               norm("value_norm", linear("value", inputs.values.to(at::kDouble))), features},
              -1);
  for (int64_t layer = 0; layer < shape.hidden_layers; ++layer) {
    const std::string name = "hidden." + std::to_string(layer);
    const at::Tensor u = norm(name + "_norm", linear(name, x));
    x = u / (1 + (-u).exp());
  }
  return linear("output", x).squeeze(2);
}

void ExpectAgreesWithAutograd(const AgentShape& shape, const at::Tensor& positions) {
  const at::Tensor flat = RandomParameters(shape);
  const AgentInputs inputs = Inputs(shape, positions);
  AgentParameters doubles = ParameterViews(shape, flat.to(at::kDouble));
  for (auto& [name, tensor] : doubles) tensor = tensor.detach().requires_grad_(true);
  const at::Tensor expected = ReferenceScores(shape, doubles, inputs);
  const at::Tensor score_gradient = SeededUniform({kHeads, kRows}, 3) * 2 - 1;
  expected.backward(score_gradient.to(at::kDouble));

  const AgentPass pass(shape, ParameterViews(shape, flat), inputs);
  EXPECT_TRUE(at::allclose(pass.scores().to(at::kDouble), expected, 1e-4, 1e-4));
  const at::Tensor gradient = at::ones_like(flat);
  const AgentParameters views = ParameterViews(shape, gradient);
  pass.Backward(score_gradient, views);
  for (const auto& [name, tensor] : doubles) {
    const at::Tensor got = views.at(name).to(at::kDouble) - 1;  // added to what was there
    EXPECT_LT((got - tensor.grad()).norm().item<double>(),
              2e-5 * (1 + tensor.grad().norm().item<double>()))
        << name;
    EXPECT_GT(tensor.grad().norm().item<double>(), 1e-2) << name;
  }
}

TEST(AgentPassTest, ScoresAndGradientsAgreeWithAutograd) {
  ExpectAgreesWithAutograd(KvpShape(), at::arange(kRows, at::kLong));
}

TEST(AgentPassTest, SoDoThoseOfAgentsWithAPositionTable) {
  ExpectAgreesWithAutograd(TableShape(), at::arange(kRows, at::kLong) + 11);
}

TEST(AgentPassTest, ScoresAgreeWithAgentScores) {
  for (const AgentShape& shape : {KvpShape(), TableShape()}) {
    const AgentParameters parameters = ParameterViews(shape, RandomParameters(shape));
    const at::Tensor keys = SeededUniform({kHeads, kRows, 6}, 1);
    const at::Tensor positions = at::arange(kRows, at::kLong);
    const AgentPass pass(shape, parameters, MakeAgentInputs(shape, keys, keys * 2, positions));
    EXPECT_TRUE(at::allclose(
        pass.scores(), AgentScores(shape, parameters, keys, keys * 2, positions), 1e-4, 1e-4));
  }
}

TEST(AgentPassTest, InBf16ScoresAndGradientsAreThoseOfFp32RoundedToThreeDigits) {
  const AgentShape shape = KvpShape();
  const at::Tensor flat = RandomParameters(shape);
  const AgentInputs inputs = Inputs(shape, at::arange(kRows, at::kLong));
  const at::Tensor score_gradient = SeededUniform({kHeads, kRows}, 3) * 2 - 1;
  const auto run = [&](at::ScalarType dtype) {
    const AgentPass pass(shape, ParameterViews(shape, flat), inputs, dtype);
    const at::Tensor gradient = at::zeros_like(flat);
    pass.Backward(score_gradient, ParameterViews(shape, gradient));
    return std::make_pair(pass.scores(), gradient);
  };
  const auto [scores, gradient] = run(at::kFloat);
  const auto [rounded_scores, rounded_gradient] = run(at::kBFloat16);
  const double score_error = ((rounded_scores - scores).norm() / scores.norm()).item<double>();
  EXPECT_LT(score_error, 0.03);
  EXPECT_GT(score_error, 1e-5);
  EXPECT_LT(((rounded_gradient - gradient).norm() / gradient.norm()).item<double>(), 0.05);
  const at::Tensor reference =
      AgentScores(shape, ParameterViews(shape, flat), inputs, at::kBFloat16);
  EXPECT_LT(((rounded_scores - reference).norm() / scores.norm()).item<double>(), 0.01);
}

TEST(AgentPassTest, AHeadsBitsDontDependOnItsCompany) {
  const AgentShape shape = KvpShape();
  const at::Tensor flat = RandomParameters(shape);
  const AgentInputs inputs = Inputs(shape, at::arange(kRows, at::kLong));
  const at::Tensor score_gradient = SeededUniform({kHeads, kRows}, 3);
  const at::Tensor together = at::zeros_like(flat);
  const AgentPass all(shape, ParameterViews(shape, flat), inputs);
  all.Backward(score_gradient, ParameterViews(shape, together));
  const at::Tensor alone = at::zeros_like(flat.narrow(0, 1, 1));
  const AgentPass one(shape, ParameterViews(shape, flat.narrow(0, 1, 1)), inputs.Heads(1, 1));
  one.Backward(score_gradient.narrow(0, 1, 1), ParameterViews(shape, alone));
  EXPECT_TRUE(at::equal(one.scores()[0], all.scores()[1]));
  EXPECT_TRUE(at::equal(alone[0], together[1]));
}

TEST(AgentPassTest, ExtremeActivationsStayFiniteAndNansShow) {
  const AgentShape shape = KvpShape();
  at::Tensor flat = RandomParameters(shape) * 1e4;
  const AgentInputs inputs = Inputs(shape, at::arange(kRows, at::kLong));
  const AgentPass large(shape, ParameterViews(shape, flat), inputs);
  EXPECT_TRUE(large.scores().isfinite().all().item<bool>());
  const at::Tensor gradient = at::zeros_like(flat);
  large.Backward(at::ones({kHeads, kRows}), ParameterViews(shape, gradient));
  EXPECT_TRUE(gradient.isfinite().all().item<bool>());
  ParameterViews(shape, flat).at("key.weight")[1][0][0] = NAN;
  const AgentPass broken(shape, ParameterViews(shape, flat), inputs);
  EXPECT_TRUE(broken.scores()[1].isnan().all().item<bool>());
  EXPECT_TRUE(broken.scores()[0].isfinite().all().item<bool>());
}

}  // namespace
}  // namespace kvp

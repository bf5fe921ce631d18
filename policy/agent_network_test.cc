#include "policy/agent_network.h"

#include <cmath>

#include "ATen/ATen.h"
#include "policy/seeded_random.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

AgentShape SmallShape() {
  AgentShape shape;
  shape.head_dim = 3;
  shape.width = 5;
  shape.hidden_layers = 2;
  shape.position_features = 6;
  return shape;
}

using Vector = std::vector<double>;

// One head's network by the formulas, a number at a time.
class LoopNetwork {
 public:
  LoopNetwork(const AgentParameters& parameters, int64_t head)
      : parameters_(parameters), head_(head) {}

  double Score(const Vector& key, const Vector& value, const Vector& position) const {
    Vector x = Norm("key_norm", Linear("key", key));
    const Vector v = Norm("value_norm", Linear("value", value));
    x.insert(x.end(), v.begin(), v.end());
    x.insert(x.end(), position.begin(), position.end());
    for (const std::string name : {"hidden.0", "hidden.1"}) {
      x = Norm(name + "_norm", Linear(name, x));
      for (double& element : x) element /= 1 + std::exp(-element);
    }
    return Linear("output", x)[0];
  }

 private:
  Vector Linear(const std::string& name, const Vector& x) const {
    const at::Tensor weight = parameters_.at(name + ".weight")[head_];
    const at::Tensor bias = parameters_.at(name + ".bias")[head_];
    Vector result(weight.size(0));
    for (size_t out = 0; out < result.size(); ++out) {
      result[out] = bias[out].item<double>();
      for (size_t in = 0; in < x.size(); ++in)
        result[out] += weight[out][in].item<double>() * x[in];
    }
    return result;
  }

  Vector Norm(const std::string& name, Vector x) const {
    double mean = 0, variance = 0;
    for (const double element : x) mean += element / x.size();
    for (const double element : x) variance += (element - mean) * (element - mean) / x.size();
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) *
                 parameters_.at(name + ".weight")[head_][i].item<double>() +
             parameters_.at(name + ".bias")[head_][i].item<double>();
    }
    return x;
  }

  const AgentParameters& parameters_;
  const int64_t head_;
};

Vector ToVector(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

// Parameters without the zeros and ones of fresh norms.
AgentParameters RandomParameters(int64_t heads) {
  AgentParameters parameters = InitialParameters(SmallShape(), 0, heads, 1);
  uint64_t seed = 100;
  for (auto& [name, tensor] : parameters) {
    tensor = SeededUniform(tensor.sizes().vec(), ++seed) - 0.4;
  }
  return parameters;
}

TEST(AgentNetworkTest, StackedScoresAgreeWithTheFormulasOfEachHead) {
  const AgentParameters parameters = RandomParameters(2);
  const at::Tensor keys = SeededUniform({2, 4, 3}, 1);
  const at::Tensor values = SeededUniform({2, 4, 3}, 2);
  const at::Tensor positions = at::tensor({0, 1, 17, 100000}, at::kLong);
  const at::Tensor features = PositionFeatures(positions, 6);
  const at::Tensor scores = AgentScores(SmallShape(), parameters, keys, values, positions);
  ASSERT_EQ(scores.sizes(), at::IntArrayRef({2, 4}));
  for (int64_t head = 0; head < 2; ++head) {
    for (int64_t row = 0; row < 4; ++row) {
      EXPECT_NEAR(scores[head][row].item<double>(),
                  LoopNetwork(parameters, head)
                      .Score(ToVector(keys[head][row]), ToVector(values[head][row]),
                             ToVector(features[row])),
                  1e-5);
    }
  }
}

TEST(AgentNetworkTest, UndoRotationGivesBackTheKeysBeforeTheirRotation) {
  const std::vector<double> frequencies = {1, 0.3};
  const at::Tensor before = SeededUniform({2, 3, 5}, 1);
  const at::Tensor positions = at::tensor({0, 3, 900}, at::kLong);
  at::Tensor rotated = before.clone();
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t i = 0; i < 2; ++i) {
      const double angle = positions[row].item<double>() * frequencies[i];
      const at::Tensor a = before.select(1, row).select(1, i);
      const at::Tensor b = before.select(1, row).select(1, i + 2);
      rotated.select(1, row).select(1, i).copy_(a * std::cos(angle) - b * std::sin(angle));
      rotated.select(1, row).select(1, i + 2).copy_(a * std::sin(angle) + b * std::cos(angle));
    }
  }
  EXPECT_FALSE(at::allclose(rotated, before, 1e-3, 1e-3));
  EXPECT_TRUE(at::allclose(UndoRotation(rotated, positions, frequencies), before, 1e-5, 1e-6));
  EXPECT_TRUE(at::equal(UndoRotation(rotated, positions, {}), rotated));
}

TEST(AgentNetworkTest, WithRotaryFrequenciesTheSameKeyScoresAlikeHoweverFarItWasTurned) {
  AgentShape shape = SmallShape();
  shape.rope_frequencies = {0.7};
  AgentParameters parameters = InitialParameters(shape, 0, 1, 1);
  // Without what it sees of the rotation and of the position itself.
  parameters["key.weight"].narrow(2, 0, 3).zero_();
  parameters["hidden.0.weight"].narrow(2, 10, 6).zero_();
  const double angle = 0.7 * 12;
  at::Tensor turned = at::tensor({1.0f, 2.0f, 3.0f, 0.0f, 0.0f, 3.0f}).view({1, 2, 3});
  turned[0][1][0] = std::cos(angle) - 2 * std::sin(angle);
  turned[0][1][1] = std::sin(angle) + 2 * std::cos(angle);
  const at::Tensor values = at::ones({1, 2, 3});
  const at::Tensor scores =
      AgentScores(shape, parameters, turned, values, at::tensor({0, 12}, at::kLong));
  EXPECT_NEAR(scores[0][0].item<double>(), scores[0][1].item<double>(), 1e-4);
}

TEST(AgentNetworkTest, LearnedPositionsAreNormalisedRowsOfTheirTable) {
  AgentShape shape = SmallShape();
  shape.position_table = 30;
  AgentParameters parameters = InitialParameters(shape, 0, 1, 1);
  const at::Tensor keys = SeededUniform({1, 2, 3}, 1);
  const at::Tensor positions = at::tensor({3, 29}, at::kLong);
  parameters["position_norm.weight"] = SeededUniform({1, 6}, 8);
  parameters["position_norm.bias"] = SeededUniform({1, 6}, 9);
  const at::Tensor scores = AgentScores(shape, parameters, keys, keys, positions);
  for (int64_t row = 0; row < 2; ++row) {
    Vector position = ToVector(parameters["position.weight"][0][positions[row].item<int64_t>()]);
    double mean = 0, variance = 0;
    for (const double x : position) mean += x / 6;
    for (const double x : position) variance += (x - mean) * (x - mean) / 6;
    for (int64_t i = 0; i < 6; ++i) {
      position[i] = (position[i] - mean) / std::sqrt(variance + 1e-5) *
                        parameters["position_norm.weight"][0][i].item<double>() +
                    parameters["position_norm.bias"][0][i].item<double>();
    }
    EXPECT_NEAR(
        scores[0][row].item<double>(),
        LoopNetwork(parameters, 0).Score(ToVector(keys[0][row]), ToVector(keys[0][row]), position),
        1e-5);
  }
  const at::Tensor of_heads = AgentScores(shape, parameters, keys, keys, positions.unsqueeze(0));
  EXPECT_TRUE(at::allclose(of_heads, scores));
}

TEST(AgentNetworkTest, PositionsBeyondATableAreRefusedByNumber) {
  const AgentShape shape = PaperAgentShape(3, 30);
  EXPECT_OK(shape.CheckPosition(29));
  EXPECT_THAT(shape.CheckPosition(30),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("position 30 is beyond")));
  EXPECT_OK(SmallShape().CheckPosition(1000000));
}

TEST(AgentNetworkTest, ThePapersAgentHasItsLayersAndParameters) {
  const AgentShape shape = PaperAgentShape(128, 6000);
  ASSERT_OK(shape.Validate());
  const int64_t projections = 2 * (256 * 128 + 256) + 2 * 2 * 256;
  const int64_t positions = 6000 * 32 + 2 * 32;
  const int64_t hidden = 256 * (2 * 256 + 32) + 256 + 256 * 256 + 256 + 2 * 2 * 256;
  EXPECT_EQ(ParameterCount(shape), projections + positions + hidden + 256 + 1);
  const AgentParameters views =
      ParameterViews(shape, at::arange(2 * ParameterCount(shape)).view({2, -1}));
  EXPECT_EQ(views.at("hidden.0.bias").sizes(), at::IntArrayRef({2, 256}));
  EXPECT_EQ(views.at("hidden.0.bias")[0][0].item<int64_t>(), 0);
  EXPECT_EQ(views.at("value_norm.weight")[1][255].item<int64_t>(), 2 * ParameterCount(shape) - 1);
}

TEST(AgentNetworkTest, PositionsMayDifferFromHeadToHead) {
  const AgentParameters parameters = RandomParameters(2);
  const at::Tensor keys = SeededUniform({2, 2, 3}, 1);
  const at::Tensor positions = at::tensor({0, 5, 7, 9}, at::kLong).view({2, 2});
  const at::Tensor scores = AgentScores(SmallShape(), parameters, keys, keys, positions);
  const at::Tensor second = AgentScores(SmallShape(), parameters, keys, keys, positions[1]);
  EXPECT_TRUE(at::allclose(scores[1], second[1]));
}

TEST(AgentNetworkTest, GradientsReachEveryParameterAndOnlyTheirOwnHead) {
  AgentParameters parameters = RandomParameters(2);
  for (auto& [name, tensor] : parameters) tensor.requires_grad_(true);
  const at::Tensor keys = SeededUniform({2, 4, 3}, 1);
  AgentScores(SmallShape(), parameters, keys, keys, at::arange(4))[1].pow(2).sum().backward();
  for (const auto& [name, tensor] : parameters) {
    EXPECT_EQ(tensor.grad()[0].abs().sum().item<double>(), 0) << name;
    EXPECT_GT(tensor.grad()[1].abs().sum().item<double>(), 0) << name;
  }
}

TEST(AgentNetworkTest, PositionFeaturesAreBoundedDistinctAndIndependentOfTheirCompany) {
  const at::Tensor positions = at::tensor({0, 1, 2, 1000, 1001, 1000000}, at::kLong);
  const at::Tensor features = PositionFeatures(positions, 32);
  EXPECT_EQ(features.sizes(), at::IntArrayRef({6, 32}));
  EXPECT_LE(features.abs().max().item<double>(), 1.5);
  EXPECT_GT((features[3] - features[4]).abs().max().item<double>(), 0.1);
  EXPECT_TRUE(at::equal(PositionFeatures(positions.slice(0, 3, 4), 32)[0], features[3]));
}

TEST(AgentNetworkTest, AHeadsInitialParametersDependOnItsIndexAlone) {
  const AgentParameters all = InitialParameters(SmallShape(), 0, 6, 3);
  const AgentParameters some = InitialParameters(SmallShape(), 4, 2, 3);
  const AgentParameters other_seed = InitialParameters(SmallShape(), 4, 2, 4);
  for (const auto& [name, tensor] : some) {
    EXPECT_TRUE(at::equal(all.at(name).slice(0, 4), tensor)) << name;
  }
  EXPECT_FALSE(at::equal(other_seed.at("key.weight"), some.at("key.weight")));
  EXPECT_FALSE(at::equal(some.at("key.weight")[0], some.at("key.weight")[1]));
  EXPECT_LE(some.at("key.weight").abs().max().item<double>(), 1 / std::sqrt(3.0));
}

TEST(AgentNetworkTest, ImpossibleShapesAreRefusedByField) {
  AgentShape shape = SmallShape();
  shape.width = 0;
  EXPECT_THAT(shape.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("width is 0")));
  shape = SmallShape();
  shape.position_features = 7;
  EXPECT_THAT(shape.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("position_features is 7")));
  shape = SmallShape();
  shape.rope_frequencies = {1, 0.5};
  EXPECT_THAT(shape.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rope_frequencies has 2")));
}

}  // namespace
}  // namespace kvp

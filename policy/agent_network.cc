#include "policy/agent_network.h"

#include <cmath>
#include <vector>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "c10/util/accumulate.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

constexpr double kNormEpsilon = 1e-5;
constexpr double kLongestWavelength = 1e5;
constexpr int64_t kLargestSize = 1 << 16;

absl::Status CheckSize(absl::string_view field, int64_t value, int64_t smallest) {
  if (value >= smallest && value <= kLargestSize) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("agent shape: ", field, " is ", value,
                                                 ", not in [", smallest, ", ", kLargestSize, "]"));
}

std::string Hidden(int64_t layer) { return absl::StrCat("hidden.", layer); }

// x [heads, rows, in] → [heads, rows, out], in one batched GEMM.
at::Tensor Linear(const AgentParameters& parameters, const std::string& name, const at::Tensor& x,
                  at::ScalarType dtype) {
  const at::Tensor weight = parameters.at(name + ".weight").transpose(1, 2);
  const at::Tensor bias = parameters.at(name + ".bias").unsqueeze(1);
  if (dtype == at::kFloat) return at::baddbmm(bias, x, weight);
  return at::bmm(x.to(dtype), weight.to(dtype)).to(at::kFloat) + bias;
}

at::Tensor LayerNorm(const AgentParameters& parameters, const std::string& name,
                     const at::Tensor& x) {
  const at::Tensor normal = at::layer_norm(x, {x.size(-1)}, {}, {}, kNormEpsilon);
  return at::addcmul(parameters.at(name + ".bias").unsqueeze(1), normal,
                     parameters.at(name + ".weight").unsqueeze(1));
}

}  // namespace

absl::Status AgentShape::Validate() const {
  for (const absl::Status& status :
       {CheckSize("head_dim", head_dim, 1), CheckSize("width", width, 1),
        CheckSize("hidden_layers", hidden_layers, 1),
        CheckSize("position_features", position_features, 4),
        CheckSize("position_table", position_table, 0)}) {
    if (!status.ok()) return status;
  }
  if (position_features % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("agent shape: position_features is ", position_features, ", not even"));
  }
  if (static_cast<int64_t>(rope_frequencies.size()) > head_dim / 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("agent shape: rope_frequencies has ", rope_frequencies.size(),
                     " entries, more than half of head_dim ", head_dim));
  }
  for (const double frequency : rope_frequencies) {
    if (!std::isfinite(frequency)) {
      return absl::InvalidArgumentError(
          absl::StrCat("agent shape: rope_frequencies has ", frequency, ", not a finite number"));
    }
  }
  return absl::OkStatus();
}

absl::Status AgentShape::CheckPosition(int64_t last_position) const {
  if (position_table == 0 || last_position < position_table) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("position ", last_position,
                                                 " is beyond the agents' table of ", position_table,
                                                 " positions"));
}

AgentShape PaperAgentShape(int64_t head_dim, int64_t positions) {
  AgentShape shape;
  shape.head_dim = head_dim;
  shape.width = 256;
  shape.hidden_layers = 2;
  shape.position_features = 32;
  shape.position_table = positions;
  return shape;
}

std::map<std::string, std::vector<int64_t>> ParameterShapes(const AgentShape& shape) {
  std::map<std::string, std::vector<int64_t>> shapes;
  const auto add_linear = [&](const std::string& name, int64_t in, int64_t out) {
    shapes[name + ".weight"] = {out, in};
    shapes[name + ".bias"] = {out};
  };
  const auto add_norm = [&](const std::string& name) {
    shapes[name + ".weight"] = {shape.width};
    shapes[name + ".bias"] = {shape.width};
  };
  add_linear("key", shape.rope_frequencies.empty() ? shape.head_dim : 2 * shape.head_dim,
             shape.width);
  add_norm("key_norm");
  add_linear("value", shape.head_dim, shape.width);
  add_norm("value_norm");
  for (int64_t layer = 0; layer < shape.hidden_layers; ++layer) {
    add_linear(Hidden(layer), layer == 0 ? 2 * shape.width + shape.position_features : shape.width,
               shape.width);
    add_norm(Hidden(layer) + "_norm");
  }
  add_linear("output", shape.width, 1);
  if (shape.position_table > 0) {
    shapes["position.weight"] = {shape.position_table, shape.position_features};
    shapes["position_norm.weight"] = {shape.position_features};
    shapes["position_norm.bias"] = {shape.position_features};
  }
  return shapes;
}

int64_t ParameterCount(const AgentShape& shape) {
  int64_t count = 0;
  for (const auto& [name, dimensions] : ParameterShapes(shape))
    count += c10::multiply_integers(dimensions);
  return count;
}

AgentParameters ParameterViews(const AgentShape& shape, const at::Tensor& flat) {
  AgentParameters views;
  int64_t offset = 0;
  for (const auto& [name, dimensions] : ParameterShapes(shape)) {
    const int64_t size = c10::multiply_integers(dimensions);
    std::vector<int64_t> stacked = {flat.size(0)};
    stacked.insert(stacked.end(), dimensions.begin(), dimensions.end());
    views[name] = flat.narrow(1, offset, size).view(stacked);
    offset += size;
  }
  return views;
}

at::Tensor PositionFeatures(const at::Tensor& positions, int64_t features) {
  const at::Tensor position = positions.to(at::kDouble).unsqueeze(-1);
  const int64_t pairs = (features - 2) / 2;
  // Angular frequencies from 1 down to 1/kLongestWavelength, evenly on the log scale.
  std::vector<double> frequencies(pairs);
  for (int64_t i = 0; i < pairs; ++i) {
    frequencies[i] =
        std::pow(kLongestWavelength, -static_cast<double>(i) / std::max<int64_t>(1, pairs - 1));
  }
  const at::Tensor angles = position * at::tensor(frequencies, at::kDouble).to(position.device());
  return at::cat({position.log1p() / 10, 1 / (1 + position), angles.sin(), angles.cos()}, -1)
      .to(at::kFloat);
}

at::Tensor UndoRotation(const at::Tensor& keys, const at::Tensor& positions,
                        const std::vector<double>& frequencies) {
  if (frequencies.empty()) return keys;
  const int64_t pairs = static_cast<int64_t>(frequencies.size());
  // In fp64: an angle may be many turns.
  const at::Tensor angles = positions.to(at::kDouble).unsqueeze(-1) *
                            at::tensor(frequencies, at::kDouble).to(positions.device());
  const at::Tensor cosines = angles.cos().to(keys.scalar_type());
  const at::Tensor sines = angles.sin().to(keys.scalar_type());
  const at::Tensor first = keys.narrow(-1, 0, pairs);
  const at::Tensor second = keys.narrow(-1, pairs, pairs);
  const at::Tensor rest = keys.narrow(-1, 2 * pairs, keys.size(-1) - 2 * pairs);
  return at::cat({first * cosines + second * sines, second * cosines - first * sines, rest}, -1);
}

AgentParameters InitialParameters(const AgentShape& shape, int64_t first_head, int64_t heads,
                                  uint64_t seed) {
  AgentParameters parameters;
  uint64_t number = 0;
  const auto shapes = ParameterShapes(shape);
  for (const auto& [name, dimensions] : shapes) {
    ++number;
    std::vector<int64_t> stacked = {heads};
    stacked.insert(stacked.end(), dimensions.begin(), dimensions.end());
    if (name.find("_norm.") != std::string::npos) {
      const double value = name.find(".weight") != std::string::npos ? 1 : 0;
      parameters[name] = at::full(stacked, value, at::kFloat);
      continue;
    }
    if (name == "position.weight") {
      std::vector<at::Tensor> of_heads;
      for (int64_t head = first_head; head < first_head + heads; ++head) {
        of_heads.push_back(
            SeededNormal(dimensions, MixSeed({seed, static_cast<uint64_t>(head), number})));
      }
      parameters[name] = at::stack(of_heads);
      continue;
    }
    // U(±1/√inputs), for weights and biases alike.
    const std::string layer = name.substr(0, name.rfind('.'));
    const double bound = 1 / std::sqrt(static_cast<double>(shapes.at(layer + ".weight")[1]));
    std::vector<at::Tensor> of_heads;
    for (int64_t head = first_head; head < first_head + heads; ++head) {
      of_heads.push_back(
          SeededUniform(dimensions, MixSeed({seed, static_cast<uint64_t>(head), number})));
    }
    parameters[name] = at::stack(of_heads).mul_(2 * bound).sub_(bound);
  }
  return parameters;
}

AgentInputs AgentInputs::Heads(int64_t first, int64_t count) const {
  AgentInputs part;
  part.keys = keys.narrow(0, first, count);
  part.values = values.narrow(0, first, count);
  part.positions = positions.dim() == 1 ? positions : positions.narrow(0, first, count);
  part.features =
      !features.defined() || features.dim() == 2 ? features : features.narrow(0, first, count);
  return part;
}

AgentInputs MakeAgentInputs(const AgentShape& shape, const at::Tensor& keys,
                            const at::Tensor& values, const at::Tensor& positions) {
  AgentInputs inputs;
  inputs.keys = shape.rope_frequencies.empty()
                    ? keys
                    : at::cat({keys, UndoRotation(keys, positions, shape.rope_frequencies)}, -1);
  inputs.values = values;
  inputs.positions = positions;
  if (shape.position_table == 0) {
    inputs.features = PositionFeatures(positions, shape.position_features);
  }
  return inputs;
}

at::Tensor AgentScores(const AgentShape& shape, const AgentParameters& parameters,
                       const at::Tensor& keys, const at::Tensor& values,
                       const at::Tensor& positions) {
  return AgentScores(shape, parameters, MakeAgentInputs(shape, keys, values, positions));
}

at::Tensor AgentScores(const AgentShape& shape, const AgentParameters& parameters,
                       const AgentInputs& inputs, at::ScalarType dtype) {
  const at::Tensor& positions = inputs.positions;
  const auto linear = [&](const std::string& name, const at::Tensor& x) {
    return Linear(parameters, name, x, dtype);
  };
  at::Tensor features = inputs.features;
  if (shape.position_table > 0) {
    const at::Tensor& table = parameters.at("position.weight");
    const at::Tensor rows =
        positions.dim() == 1
            ? table.index_select(1, positions)
            : table.gather(1, positions.unsqueeze(-1).expand({-1, -1, table.size(2)}));
    features = LayerNorm(parameters, "position_norm", rows);
  }
  at::Tensor x = at::cat(
      {LayerNorm(parameters, "key_norm", linear("key", inputs.keys)),
       LayerNorm(parameters, "value_norm", linear("value", inputs.values)),
       features.expand({inputs.keys.size(0), inputs.keys.size(1), shape.position_features})},
      -1);
  for (int64_t layer = 0; layer < shape.hidden_layers; ++layer) {
    x = at::silu(LayerNorm(parameters, Hidden(layer) + "_norm", linear(Hidden(layer), x)));
  }
  return linear("output", x).squeeze(-1);
}

}  // namespace kvp

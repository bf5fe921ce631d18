#include "policy/agent_pass.h"

#include <string>
#include <utility>

#include "ATen/ATen.h"
#include "ATen/Parallel.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"
#include "policy/norm_kernel.h"

namespace kvp {
namespace {

std::string Hidden(int64_t layer) { return absl::StrCat("hidden.", layer); }

const float* OfHead(const at::Tensor& tensor, int64_t head) {
  return tensor.data_ptr<float>() + head * tensor.stride(0);
}
float* OfHeadMutable(const at::Tensor& tensor, int64_t head) {
  return tensor.data_ptr<float>() + head * tensor.stride(0);
}

// Calls function(head) for each head, on as many threads as torch has.
template <typename Function>
void ForEachHead(int64_t heads, const Function& function) {
  at::parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) function(head);
  });
}

}  // namespace

AgentPass::AgentPass(const AgentShape& shape, const AgentParameters& parameters,
                     const AgentInputs& inputs, at::ScalarType dtype)
    : shape_(shape), parameters_(parameters), inputs_(inputs), dtype_(dtype) {
  const at::NoGradGuard no_gradients;
  const int64_t heads = inputs_.keys.size(0);
  const int64_t rows = inputs_.keys.size(1);
  const int64_t width = shape_.width;
  joined_ = at::empty({heads, rows, 2 * width + shape_.position_features}, at::kFloat);
  key_ = Forward("key_norm", "key", false,
                 Multiply(inputs_.keys, parameters_.at("key.weight").transpose(1, 2)),
                 joined_.narrow(2, 0, width));
  value_ = Forward("value_norm", "value", false,
                   Multiply(inputs_.values, parameters_.at("value.weight").transpose(1, 2)),
                   joined_.narrow(2, width, width));
  const at::Tensor features = joined_.narrow(2, 2 * width, shape_.position_features);
  if (shape_.position_table > 0) {
    position_ =
        Forward("position_norm", "", false,
                parameters_.at("position.weight").index_select(1, inputs_.positions), features);
  } else {
    features.copy_(inputs_.features.expand_as(features));
  }
  at::Tensor x = joined_;
  for (int64_t layer = 0; layer < shape_.hidden_layers; ++layer) {
    at::Tensor y = at::empty({heads, rows, width}, at::kFloat);
    const std::string name = Hidden(layer);
    hidden_.push_back(Forward(name + "_norm", name, true,
                              Multiply(x, parameters_.at(name + ".weight").transpose(1, 2)), y));
    x = y;
    activity_.push_back(std::move(y));
  }
  scores_ = at::baddbmm(parameters_.at("output.bias").unsqueeze(1), x,
                        parameters_.at("output.weight").transpose(1, 2))
                .squeeze(2);
}

at::Tensor AgentPass::Multiply(const at::Tensor& a, const at::Tensor& b) const {
  if (dtype_ == at::kFloat) return at::bmm(a, b);
  return at::bmm(a.to(dtype_), b.to(dtype_)).to(at::kFloat);
}

void AgentPass::AddWeightGradient(const at::Tensor& y_gradient, const at::Tensor& x,
                                  at::Tensor weight_gradient) const {
  if (dtype_ == at::kFloat) {
    weight_gradient.baddbmm_(y_gradient.transpose(1, 2), x);
  } else {
    weight_gradient.add_(Multiply(y_gradient.transpose(1, 2), x));
  }
}

AgentPass::Normal AgentPass::Forward(const std::string& norm, const std::string& linear, bool silu,
                                     const at::Tensor& x, const at::Tensor& y) const {
  Normal result;
  result.normal = x;
  result.inverse_deviation = at::empty({x.size(0), x.size(1)}, at::kFloat);
  const at::Tensor weight = parameters_.at(norm + ".weight");
  const at::Tensor bias = parameters_.at(norm + ".bias");
  const at::Tensor x_bias = linear.empty() ? at::Tensor() : parameters_.at(linear + ".bias");
  ForEachHead(x.size(0), [&](int64_t head) {
    NormLayer layer;
    layer.rows = x.size(1);
    layer.width = x.size(2);
    layer.x_bias = linear.empty() ? nullptr : OfHead(x_bias, head);
    layer.weight = OfHead(weight, head);
    layer.bias = OfHead(bias, head);
    layer.silu = silu;
    NormalizeRows(layer, OfHeadMutable(x, head), OfHeadMutable(result.inverse_deviation, head),
                  OfHeadMutable(y, head), y.stride(1));
  });
  return result;
}

at::Tensor AgentPass::Backward(const std::string& norm, const std::string& linear, bool silu,
                               const Normal& forward, const at::Tensor& y_gradient,
                               const AgentParameters& gradient) const {
  const at::Tensor x_gradient = at::empty(forward.normal.sizes(), at::kFloat);
  const at::Tensor weight = parameters_.at(norm + ".weight");
  const at::Tensor bias = parameters_.at(norm + ".bias");
  const at::Tensor weight_gradient = gradient.at(norm + ".weight");
  const at::Tensor bias_gradient = gradient.at(norm + ".bias");
  const at::Tensor x_bias_gradient = linear.empty() ? at::Tensor() : gradient.at(linear + ".bias");
  ForEachHead(forward.normal.size(0), [&](int64_t head) {
    NormLayer layer;
    layer.rows = forward.normal.size(1);
    layer.width = forward.normal.size(2);
    layer.weight = OfHead(weight, head);
    layer.bias = OfHead(bias, head);
    layer.silu = silu;
    NormGradients gradients;
    gradients.x = OfHeadMutable(x_gradient, head);
    gradients.weight = OfHeadMutable(weight_gradient, head);
    gradients.bias = OfHeadMutable(bias_gradient, head);
    gradients.x_bias = linear.empty() ? nullptr : OfHeadMutable(x_bias_gradient, head);
    NormalizeRowsBackward(layer, OfHead(forward.normal, head),
                          OfHead(forward.inverse_deviation, head), OfHead(y_gradient, head),
                          y_gradient.stride(1), gradients);
  });
  return x_gradient;
}

void AgentPass::Backward(const at::Tensor& score_gradient, const AgentParameters& gradient) const {
  const at::NoGradGuard no_gradients;
  const at::Tensor column = score_gradient.unsqueeze(2);  // [heads, rows, 1]
  gradient.at("output.bias").add_(score_gradient.sum(1, /*keepdim=*/true));
  AddWeightGradient(column, activity_.back(), gradient.at("output.weight"));
  at::Tensor y_gradient = column * parameters_.at("output.weight");
  for (int64_t layer = shape_.hidden_layers - 1; layer >= 0; --layer) {
    const std::string name = Hidden(layer);
    const at::Tensor x_gradient =
        Backward(name + "_norm", name, true, hidden_[layer], y_gradient, gradient);
    AddWeightGradient(x_gradient, layer == 0 ? joined_ : activity_[layer - 1],
                      gradient.at(name + ".weight"));
    at::Tensor weight = parameters_.at(name + ".weight");
    // Features that aren't learned need no gradient.
    if (layer == 0 && shape_.position_table == 0) weight = weight.narrow(2, 0, 2 * shape_.width);
    y_gradient = Multiply(x_gradient, weight);
  }
  const at::Tensor key_gradient =
      Backward("key_norm", "key", false, key_, y_gradient.narrow(2, 0, shape_.width), gradient);
  AddWeightGradient(key_gradient, inputs_.keys, gradient.at("key.weight"));
  const at::Tensor value_gradient =
      Backward("value_norm", "value", false, value_,
               y_gradient.narrow(2, shape_.width, shape_.width), gradient);
  AddWeightGradient(value_gradient, inputs_.values, gradient.at("value.weight"));
  if (shape_.position_table == 0) return;
  const at::Tensor row_gradient =
      Backward("position_norm", "", false, position_,
               y_gradient.narrow(2, 2 * shape_.width, shape_.position_features), gradient);
  gradient.at("position.weight").index_add_(1, inputs_.positions, row_gradient);
}

int64_t AgentPass::BytesPerEntry(const AgentShape& shape) {
  const int64_t numbers = 2 * shape.width + 2 * shape.position_features +  // joined_, position_
                          2 * shape.width +                                // key_, value_
                          2 * shape.hidden_layers * shape.width;
  return numbers * static_cast<int64_t>(sizeof(float));
}

}  // namespace kvp

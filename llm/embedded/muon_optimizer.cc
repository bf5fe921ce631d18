#include "llm/embedded/muon_optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace kvp {

at::Tensor Orthogonalize(const at::Tensor& matrix, bool use_bf16) {
  // Coefficients of the quintic iteration, from the Muon paper.
  constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
  constexpr int kIterations = 5;
  const bool tall = matrix.size(0) > matrix.size(1);
  const double norm = matrix.norm().item<double>();
  at::Tensor x = (matrix / (norm + 1e-12)).to(use_bf16 ? at::kBFloat16 : at::kFloat);
  if (tall) x = x.t().contiguous();
  for (int i = 0; i < kIterations; ++i) {
    const at::Tensor gram = at::mm(x, x.t());
    const at::Tensor mix = gram * kB + at::mm(gram, gram) * kC;
    x = x * kA + at::mm(mix, x);
  }
  x = x.to(at::kFloat);
  return tall ? x.t().contiguous() : x;
}

MuonOptimizer::MuonOptimizer(const MuonOptions& options, std::vector<ParameterRule> rules,
                             const std::vector<at::Tensor>& parameters, bool use_bf16)
    : options_(options), rules_(std::move(rules)), use_bf16_(use_bf16) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    state_.push_back(at::zeros_like(parameters[i]));
    state_.push_back(rules_[i].blocks.empty() ? at::zeros_like(parameters[i])
                                              : at::empty({0}, at::kFloat));
  }
}

void MuonOptimizer::Update(int index, int64_t step, double rate_factor, const at::Tensor& gradient,
                           at::Tensor* parameter) {
  at::Tensor& momentum = state_[2 * index];
  const std::vector<int64_t>& blocks = rules_[index].blocks;
  if (!blocks.empty()) {
    const double rate = options_.muon_rate * rate_factor;
    momentum.mul_(options_.momentum).add_(gradient);
    const at::Tensor nesterov = gradient + momentum * options_.momentum;
    parameter->mul_(1 - rate * options_.muon_decay);
    int64_t begin = 0;
    for (int64_t rows : blocks) {
      const at::Tensor update = Orthogonalize(nesterov.narrow(0, begin, rows), use_bf16_);
      const double shape_factor =
          std::sqrt(std::max(1.0, static_cast<double>(rows) / gradient.size(1)));
      parameter->narrow(0, begin, rows).sub_(update, rate * shape_factor);
      begin += rows;
    }
    return;
  }
  const double rate = options_.adam_rate * rate_factor;
  at::Tensor& second = state_[2 * index + 1];
  momentum.mul_(options_.adam_beta1).add_(gradient, 1 - options_.adam_beta1);
  second.mul_(options_.adam_beta2).addcmul_(gradient, gradient, 1 - options_.adam_beta2);
  const double correction1 = 1 - std::pow(options_.adam_beta1, step);
  const double correction2 = 1 - std::pow(options_.adam_beta2, step);
  const at::Tensor denominator = (second / correction2).sqrt_().add_(options_.adam_epsilon);
  if (parameter->dim() > 1) parameter->mul_(1 - rate * options_.adam_decay);
  parameter->addcdiv_(momentum, denominator, -rate / correction1);
}

}  // namespace kvp

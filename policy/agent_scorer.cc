#include "policy/agent_scorer.h"

#include <algorithm>
#include <vector>

#include "ATen/ops/cat.h"
#include "absl/strings/str_cat.h"
#include "policy/agent_network.h"
#include "policy/stacked_heads.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Entries scored at once: bounds the activations, [heads, rows, width] each.
constexpr int64_t kRows = 4096;

}  // namespace

absl::StatusOr<std::unique_ptr<AgentScorer>> AgentScorer::Load(const std::string& path) {
  ASSIGN_OR_RETURN(AgentFile agents, LoadAgents(path));
  return std::unique_ptr<AgentScorer>(new AgentScorer(std::move(agents)));
}

AgentParameters AgentScorer::ParametersOf(const std::vector<int64_t>& index,
                                          c10::Device device) const {
  absl::MutexLock lock(&mutex_);
  AgentParameters& all = on_device_[device.str()];
  if (all.empty()) {
    for (const auto& [name, tensor] : agents_.parameters) all[name] = tensor.to(device);
  }
  AgentParameters parameters;
  for (const auto& [name, tensor] : all) parameters[name] = SelectHeads(tensor, index);
  return parameters;
}

absl::StatusOr<at::Tensor> AgentScorer::Score(const PolicyInput& input) const {
  ASSIGN_OR_RETURN(const std::vector<int64_t> index,
                   IndicesOf(input.heads, agents_.layers, agents_.kv_heads));
  if (input.keys.size(2) != agents_.shape.head_dim) {
    return absl::InvalidArgumentError(absl::StrCat("head_dim is ", input.keys.size(2),
                                                   ", the agents' is ", agents_.shape.head_dim));
  }
  RETURN_IF_ERROR(agents_.shape.CheckPosition(input.positions.max().item<int64_t>()));
  const at::Tensor positions = input.positions.to(input.keys.device());
  const AgentParameters parameters = ParametersOf(index, input.keys.device());
  std::vector<at::Tensor> scores;
  const int64_t tokens = input.keys.size(1);
  for (int64_t begin = 0; begin < tokens; begin += kRows) {
    const int64_t rows = std::min(kRows, tokens - begin);
    scores.push_back(AgentScores(agents_.shape, parameters, input.keys.narrow(1, begin, rows),
                                 input.values.narrow(1, begin, rows),
                                 positions.narrow(0, begin, rows)));
  }
  return scores.size() == 1 ? scores[0] : at::cat(scores, 1);
}

}  // namespace kvp

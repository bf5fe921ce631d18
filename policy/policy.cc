#include "policy/policy.h"

#include <algorithm>
#include <functional>
#include <new>
#include <utility>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "policy/agent_file.h"
#include "policy/agent_network.h"
#include "policy/heuristics.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Entries scored at once: bounds the activations, [heads, rows, width] each.
constexpr int64_t kAgentRows = 4096;

absl::Status Invalid(absl::string_view policy, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("policy ", policy, ": ", what));
}

absl::Status CheckInput(absl::string_view policy, const PolicyInput& input) {
  if (!input.keys.defined() || input.keys.dim() != 3 || !input.values.defined() ||
      input.values.sizes() != input.keys.sizes()) {
    return Invalid(policy, "keys and values aren't both [heads, tokens, head_dim]");
  }
  if (input.keys.scalar_type() != at::kFloat || input.values.scalar_type() != at::kFloat) {
    return Invalid(policy, "keys and values aren't fp32");
  }
  const int64_t heads = static_cast<int64_t>(input.heads.size());
  if (heads != input.keys.size(0)) {
    return Invalid(policy,
                   absl::StrCat("keys of ", input.keys.size(0), " heads, but ids of ", heads));
  }
  if (heads == 0 || input.keys.size(1) == 0) return Invalid(policy, "no entries to score");
  if (!input.positions.defined() || input.positions.dim() != 1 ||
      input.positions.scalar_type() != at::kLong || input.positions.size(0) != input.keys.size(1)) {
    return Invalid(policy, absl::StrCat("positions aren't int64 [", input.keys.size(1), "]"));
  }
  return absl::OkStatus();
}

// What `body` returns; what torch throws (memory that can't be had, a device's failure) becomes a
// status.
template <typename Body>
absl::StatusOr<at::Tensor> WithoutExceptions(absl::string_view policy, Body body) {
  try {
    return body();
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("policy ", policy, ": ", error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("policy ", policy, ": out of memory"));
  }
}

// A policy that is a function of its input.
class HeuristicPolicy : public Policy {
 public:
  using Function = std::function<absl::StatusOr<at::Tensor>(const PolicyInput&)>;

  HeuristicPolicy(std::string name, Function function)
      : name_(std::move(name)), function_(std::move(function)) {}

  const std::string& name() const override { return name_; }

  absl::StatusOr<at::Tensor> Score(const PolicyInput& input) const override {
    RETURN_IF_ERROR(CheckInput(name_, input));
    const at::NoGradGuard no_gradients;
    return WithoutExceptions(name_, [&] { return function_(input); });
  }

 private:
  const std::string name_;
  const Function function_;
};

// The trained agents.
class AgentPolicy : public Policy {
 public:
  AgentPolicy(std::string name, AgentFile agents)
      : name_(std::move(name)), agents_(std::move(agents)) {}

  const std::string& name() const override { return name_; }

  absl::StatusOr<at::Tensor> Score(const PolicyInput& input) const override {
    RETURN_IF_ERROR(CheckInput(name_, input));
    if (input.keys.size(2) != agents_.shape.head_dim) {
      return Invalid(name_, absl::StrCat("head_dim is ", input.keys.size(2), ", the agents' is ",
                                         agents_.shape.head_dim));
    }
    if (const absl::Status status =
            agents_.shape.CheckPosition(input.positions.max().item<int64_t>());
        !status.ok()) {
      return Invalid(name_, status.message());
    }
    std::vector<int64_t> indices;
    indices.reserve(input.heads.size());
    for (const HeadId head : input.heads) {
      if (head.layer < 0 || head.layer >= agents_.layers || head.kv_head < 0 ||
          head.kv_head >= agents_.kv_heads) {
        return Invalid(name_,
                       absl::StrCat("no agent for layer ", head.layer, ", KV head ", head.kv_head,
                                    " among ", agents_.layers, " x ", agents_.kv_heads));
      }
      indices.push_back(head.Index(static_cast<int32_t>(agents_.kv_heads)));
    }
    const at::NoGradGuard no_gradients;
    return WithoutExceptions(name_, [&] { return ScoresOf(input, indices); });
  }

 private:
  // Of the agents with these indices, one for each head of the input.
  absl::StatusOr<at::Tensor> ScoresOf(const PolicyInput& input,
                                      const std::vector<int64_t>& indices) const {
    const at::Tensor index = at::tensor(indices, at::kLong);
    AgentParameters parameters;
    for (const auto& [name, tensor] : agents_.parameters) {
      parameters[name] = tensor.index_select(0, index).to(input.keys.device());
    }
    std::vector<at::Tensor> scores;
    const int64_t tokens = input.keys.size(1);
    for (int64_t begin = 0; begin < tokens; begin += kAgentRows) {
      const int64_t rows = std::min(kAgentRows, tokens - begin);
      scores.push_back(AgentScores(agents_.shape, parameters, input.keys.narrow(1, begin, rows),
                                   input.values.narrow(1, begin, rows),
                                   input.positions.narrow(0, begin, rows).to(input.keys.device())));
    }
    return at::cat(scores, 1);
  }

  const std::string name_;
  const AgentFile agents_;
};

absl::StatusOr<at::Tensor> OracleScores(const PolicyInput& input) {
  if (!input.importance.defined()) return Invalid("oracle", "the importance isn't known");
  if (input.importance.sizes() != input.keys.sizes().slice(0, 2)) {
    return Invalid("oracle", "importance isn't [heads, tokens]");
  }
  return input.importance.to(at::kFloat);
}

HeuristicPolicy::Function HeuristicOf(const std::string& name) {
  if (name == "oracle") return OracleScores;
  if (name == "random") {
    return [](const PolicyInput& input) {
      return RandomScores(input.heads, input.keys.size(1), input.sequence_seed);
    };
  }
  if (name == "streaming_llm") {
    return [](const PolicyInput& input) {
      return StreamingLlmScores(input.positions, input.keys.size(0));
    };
  }
  if (name == "k_norm") return [](const PolicyInput& input) { return KNormScores(input.keys); };
  if (name == "key_diff") return [](const PolicyInput& input) { return KeyDiffScores(input.keys); };
  return nullptr;
}

}  // namespace

const std::vector<std::string>& PolicyNames() {
  static const auto* const names = new std::vector<std::string>{
      "kvp", "oracle", "random", "streaming_llm", "k_norm", "key_diff"};
  return *names;
}

absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(const std::string& name,
                                                   const PolicyOptions& options) {
  if (name == "kvp") {
    if (options.agents_path.empty()) return Invalid(name, "no agents file was given");
    ASSIGN_OR_RETURN(AgentFile agents, LoadAgents(options.agents_path));
    return std::make_unique<AgentPolicy>(name, std::move(agents));
  }
  if (HeuristicPolicy::Function function = HeuristicOf(name)) {
    return std::make_unique<HeuristicPolicy>(name, std::move(function));
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown policy \"", name, "\"; there are ",
                                                 absl::StrJoin(PolicyNames(), ", ")));
}

}  // namespace kvp

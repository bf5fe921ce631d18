#include "eval/agents.h"

#include "absl/strings/str_cat.h"
#include "policy/agent_file.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<std::map<std::string, std::string>> CheckAgents(const std::string& agents_path,
                                                               const Decoder& decoder) {
  ASSIGN_OR_RETURN(const AgentFile agents, LoadAgents(agents_path));
  const ModelConfig& config = decoder.config();
  const auto mismatch = [&agents_path](absl::string_view field, const auto& is, const auto& model) {
    return absl::FailedPreconditionError(
        absl::StrCat(agents_path, ": ", field, " is ", is, ", the model's is ", model));
  };
  if (agents.layers != config.layers) return mismatch("layers", agents.layers, config.layers);
  if (agents.kv_heads != config.kv_heads) {
    return mismatch("kv_heads", agents.kv_heads, config.kv_heads);
  }
  if (agents.shape.head_dim != config.head_dim) {
    return mismatch("head_dim", agents.shape.head_dim, config.head_dim);
  }
  if (agents.model_fingerprint != decoder.fingerprint()) {
    return mismatch("model_fingerprint", agents.model_fingerprint, decoder.fingerprint());
  }
  return std::map<std::string, std::string>{
      {"model_name", agents.model_name},
      {"objective", agents.objective},
      {"seed", absl::StrCat(agents.seed)},
      {"training_data_hash", agents.training_data_hash},
      {"held_out_cost", absl::StrCat(agents.held_out_cost)},
      {"width", absl::StrCat(agents.shape.width)},
      {"hidden_layers", absl::StrCat(agents.shape.hidden_layers)},
  };
}

absl::StatusOr<std::vector<std::unique_ptr<Policy>>> MakePolicies(
    const std::vector<std::string>& names, const std::string& agents_path) {
  PolicyOptions options;
  options.agents_path = agents_path;
  std::vector<std::unique_ptr<Policy>> policies;
  for (const std::string& name : names.empty() ? PolicyNames() : names) {
    if (names.empty() && name == "kvp" && agents_path.empty()) continue;
    ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy, MakePolicy(name, options));
    policies.push_back(std::move(policy));
  }
  return policies;
}

}  // namespace kvp

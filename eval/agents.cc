#include "eval/agents.h"

#include "absl/strings/str_cat.h"
#include "policy/agent_file.h"
#include "policy/q_filter_file.h"
#include "util/logging.h"
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

absl::Status CheckQFilters(const std::string& q_filters_path, const Decoder& decoder) {
  ASSIGN_OR_RETURN(const QFilterFile file, LoadQFilters(q_filters_path));
  const ModelConfig& config = decoder.config();
  const auto mismatch = [&](absl::string_view field, const auto& is, const auto& model) {
    return absl::FailedPreconditionError(
        absl::StrCat(q_filters_path, ": ", field, " is ", is, ", the model's is ", model));
  };
  const at::Tensor& filters = file.filters;
  if (filters.size(0) != config.layers) return mismatch("layers", filters.size(0), config.layers);
  if (filters.size(1) != config.kv_heads) {
    return mismatch("kv_heads", filters.size(1), config.kv_heads);
  }
  if (filters.size(2) != config.head_dim) {
    return mismatch("head_dim", filters.size(2), config.head_dim);
  }
  if (file.model_fingerprint != decoder.fingerprint()) {
    return mismatch("model_fingerprint", file.model_fingerprint, decoder.fingerprint());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::unique_ptr<Policy>>> MakePolicies(
    const std::vector<std::string>& names, const PolicyOptions& options) {
  std::vector<std::unique_ptr<Policy>> policies;
  for (const std::string& name : names.empty() ? PolicyNames() : names) {
    ASSIGN_OR_RETURN(const PolicyInfo info, FindPolicy(name));
    const std::string& path = info.file == "agents" ? options.agents_path : options.q_filters_path;
    if (names.empty() && !info.file.empty() && path.empty()) {
      LogInfo(absl::StrCat("policy ", name, " is left out: it needs --", info.file));
      continue;
    }
    ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy, MakePolicy(name, options));
    policies.push_back(std::move(policy));
  }
  return policies;
}

}  // namespace kvp

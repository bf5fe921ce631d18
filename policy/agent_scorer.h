// AgentScorer: policy kvp, the trained agents of a model.

#ifndef KVP_POLICY_AGENT_SCORER_H_
#define KVP_POLICY_AGENT_SCORER_H_

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "c10/core/Device.h"
#include "policy/agent_file.h"
#include "policy/policy_input.h"

namespace kvp {

// Owns the agents, and a copy of them on each device on which it was asked to score. Thread-safe.
class AgentScorer {
 public:
  // Errors of LoadAgents.
  static absl::StatusOr<std::unique_ptr<AgentScorer>> Load(const std::string& path);

  // fp32 [heads, tokens]: each head's entries by its own agent. INVALID_ARGUMENT for a head without
  // an agent, another head_dim, or a position beyond the agents' table. Throws what torch throws.
  absl::StatusOr<at::Tensor> Score(const PolicyInput& input) const;

 private:
  explicit AgentScorer(AgentFile agents) : agents_(std::move(agents)) {}
  // The agents with the indices `index`, one for each head.
  AgentParameters ParametersOf(const std::vector<int64_t>& index, c10::Device device) const;

  const AgentFile agents_;
  mutable absl::Mutex mutex_;
  mutable std::map<std::string, AgentParameters> on_device_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvp

#endif  // KVP_POLICY_AGENT_SCORER_H_

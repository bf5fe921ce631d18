// agents.safetensors: the trained agents of a whole model. Tensors are named as in agent_network.h
// and stacked [layers, kv_heads, ...], fp32; the metadata says what they were trained for, as
// strings, readable by any JSON tool:
//
//   format_version      "1"
//   model, model_fingerprint, layers, kv_heads, head_dim
//                       the model whose cache they score
//   key_convention      "post-RoPE": K as the cache holds it
//   agent               "kvp", or "paper" where positions are a learned table; files without this
//                       field are "kvp"
//   position_features   "log1p/10, 1/(1+p), sin and cos at 1..1e-5": see PositionFeatures; of
//                       "paper" agents "table"
//   position_table      rows of that table; only of "paper" agents
//   rope_frequencies    the model's rotary frequencies, comma-separated; empty where agents read
//                       keys only as they are cached
//   position_feature_count, width, hidden_layers
//                       the network's shape
//   training_data_hash, objective, seed, held_out_cost
//                       how they came to be
//   held_out_costs, best_steps
//                       of each head, layer-major, comma-separated: the cost of its agent, and
//                       after how many steps that was the best; files without them still load
//   training.NAME       every option of the trainer that the agents depend on

#ifndef KVP_POLICY_AGENT_FILE_H_
#define KVP_POLICY_AGENT_FILE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "policy/agent_network.h"

namespace kvp {

struct AgentFile {
  AgentShape shape;
  // Stacked over all heads of the model, layer-major: [layers * kv_heads, ...].
  AgentParameters parameters;

  // What the metadata says, beside the shape.
  std::string model_name;
  std::string model_fingerprint;
  int64_t layers = 0;
  int64_t kv_heads = 0;
  std::string training_data_hash;  // over the ids of the traces
  std::string objective;           // as the trainer's --objective
  uint64_t seed = 0;
  double held_out_cost = 0;  // mean over heads; 1 is the oracle
  // Of each head, layer-major; empty where it isn't known.
  std::vector<double> held_out_costs;
  std::vector<int64_t> best_steps;
  std::map<std::string, std::string> training;  // by the option's name
};

// Writes atomically; the same agents give the same bytes. INVALID_ARGUMENT where a tensor's shape
// disagrees.
absl::Status SaveAgents(const std::string& path, const AgentFile& agents);

// NOT_FOUND or INVALID_ARGUMENT, naming the file, the field and the value.
absl::StatusOr<AgentFile> LoadAgents(const std::string& path);

}  // namespace kvp

#endif  // KVP_POLICY_AGENT_FILE_H_

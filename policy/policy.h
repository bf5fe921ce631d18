// Eviction policies: (k, v, position) of cache entries → scores → kept indices.

#ifndef KVP_POLICY_POLICY_H_
#define KVP_POLICY_POLICY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "util/head_split.h"

namespace kvp {

// The cache entries of several KV heads of one model, all of the same number of tokens.
struct PolicyInput {
  // Which heads they are, in the tensors' order.
  std::vector<HeadId> heads;
  // fp32 [heads, tokens, head_dim]; K is post-RoPE.
  at::Tensor keys;
  at::Tensor values;
  // int64 [tokens]: sequence positions, ascending.
  at::Tensor positions;
  // fp32 [heads, tokens]: future importance (method: sum over future queries of the group's largest
  // attention weight); only the oracle looks at it, and it is undefined where nobody knows the
  // future.
  at::Tensor importance;
  // Seeds what is random, so that a run can be repeated: a number that names the sequence.
  uint64_t sequence_seed = 0;
};

// Scores entries by how much they are worth keeping. Immutable and thread-safe.
class Policy {
 public:
  virtual ~Policy() = default;

  // As in --policy and in results.json.
  virtual const std::string& name() const = 0;

  // fp32 [heads, tokens]: larger is kept longer. Only the order within a head counts.
  // INVALID_ARGUMENT for input that the policy can't score (a shape, a head it has no agent for,
  // the oracle without importance).
  virtual absl::StatusOr<at::Tensor> Score(const PolicyInput& input) const = 0;
};

struct PolicyOptions {
  // The agents.safetensors that "kvp" needs.
  std::string agents_path;
};

// One of PolicyNames(). INVALID_ARGUMENT naming an unknown one and listing those there are; errors
// of loading the agents.
absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(const std::string& name,
                                                   const PolicyOptions& options = {});

// "kvp", "oracle", "random", "streaming_llm", "k_norm", "key_diff", in the order in which reports
// show them.
const std::vector<std::string>& PolicyNames();

}  // namespace kvp

#endif  // KVP_POLICY_POLICY_H_

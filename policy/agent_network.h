// The agents' network: one small MLP per KV head, all heads of a group stacked, so that a layer is
// one batched GEMM.

#ifndef KVP_POLICY_AGENT_NETWORK_H_
#define KVP_POLICY_AGENT_NETWORK_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvp {

// Shape of one agent: Linear(head_dim → width) + LayerNorm on k, the same on v, position features;
// concatenated; `hidden_layers` × [Linear → width, LayerNorm, SiLU]; Linear → 1. After Moschella et
// al., "Learning to Evict from Key-Value Cache" (2026), with two differences. Position features
// have no table and no end, in the place of its embedding. And k is read twice, as it is cached and
// turned back by its rotary angle: that angle is a function of the position alone, so a score still
// depends on (k, v, position) only, but what an entry says needn't be learnt anew for each
// position. PaperAgentShape() has neither difference.
struct AgentShape {
  int64_t head_dim = 0;
  int64_t width = 64;
  int64_t hidden_layers = 2;
  int64_t position_features = 32;
  // 0: the features are PositionFeatures. Else they are learned: LayerNorm of a row of a table of
  // so many positions, and a position beyond it can't be scored.
  int64_t position_table = 0;
  // The model's rotary frequencies, as ModelInfo.rope_frequencies has them; empty: k is read once,
  // as it is cached.
  std::vector<double> rope_frequencies;

  // INVALID_ARGUMENT naming the field and its value.
  absl::Status Validate() const;
  // INVALID_ARGUMENT, naming both, where `last_position` is beyond the table. A table says nothing
  // of such a position: clamping to its last row would give scores that look like scores.
  absl::Status CheckPosition(int64_t last_position) const;
};

// The network of the paper and of the code released with it: width 256, an embedding of 32 numbers
// for each of `positions` positions (the released code has 6,000), k as it is cached.
AgentShape PaperAgentShape(int64_t head_dim, int64_t positions);

// Features of absolute positions p that extrapolate, no function of the sequence's length: log(1 +
// p)/10, 1/(1 + p), and sin and cos of p at frequencies from 1 to 1e-5. positions int64 [...];
// returns fp32 [..., features].
at::Tensor PositionFeatures(const at::Tensor& positions, int64_t features);

// Post-RoPE keys [..., rows, head_dim] at positions int64 [rows] or [..., rows], as they were
// before their rotation: pair (k[i], k[i + n]) is turned by −position · frequencies[i], n = size of
// frequencies ≤ head_dim / 2; dimensions from 2n on are left alone.
at::Tensor UndoRotation(const at::Tensor& keys, const at::Tensor& positions,
                        const std::vector<double>& frequencies);

// Parameters by name, fp32; each is stacked [heads, ...].
using AgentParameters = std::map<std::string, at::Tensor>;

// Every parameter's name and the shape of one head's: "key", "value", "hidden.I" and "output" are
// linear layers (.weight [out, in], .bias [out]); "key_norm", "value_norm" and "hidden.I_norm" are
// layer norms (.weight, .bias [width]). "key" takes 2 * head_dim inputs where there are rotary
// frequencies: the cached key, then the one turned back. A position table is "position.weight"
// [position_table, position_features], its layer norm "position_norm".
std::map<std::string, std::vector<int64_t>> ParameterShapes(const AgentShape& shape);

// The parameters as views of `flat` fp32 [heads, ParameterCount(shape)], in the order of their
// names.
AgentParameters ParameterViews(const AgentShape& shape, const at::Tensor& flat);
int64_t ParameterCount(const AgentShape& shape);

// Fresh parameters of the heads with indices [first_head, first_head + heads): each head's values
// depend on `seed` and its own index alone, so that the same agent comes out wherever it is
// trained.
AgentParameters InitialParameters(const AgentShape& shape, int64_t first_head, int64_t heads,
                                  uint64_t seed);

// What the network sees of some entries: everything that doesn't depend on its parameters.
struct AgentInputs {
  at::Tensor keys;       // fp32 [heads, rows, head_dim], or [..., 2 * head_dim]: as the shape says
  at::Tensor values;     // fp32 [heads, rows, head_dim]
  at::Tensor positions;  // int64 [rows] or [heads, rows]
  // fp32 [rows, position_features] or [heads, ...]; undefined where they are learned.
  at::Tensor features;

  // Of the heads [first, first + count), sharing memory.
  AgentInputs Heads(int64_t first, int64_t count) const;
};
// Of post-RoPE keys and values fp32 [heads, rows, head_dim] at positions int64 [rows] or [heads,
// rows].
AgentInputs MakeAgentInputs(const AgentShape& shape, const at::Tensor& keys,
                            const at::Tensor& values, const at::Tensor& positions);

// Scores [heads, rows] of post-RoPE keys and values fp32 [heads, rows, head_dim] at positions int64
// [rows] or [heads, rows], which are the caller's to check against the table. Differentiable in the
// parameters where they require gradients.
at::Tensor AgentScores(const AgentShape& shape, const AgentParameters& parameters,
                       const at::Tensor& keys, const at::Tensor& values,
                       const at::Tensor& positions);
// The same of inputs made beforehand. With bf16 as `dtype`, matrices are multiplied in it, their
// results' sums kept in fp32 as far as the device does; everything else is fp32, parameters too.
at::Tensor AgentScores(const AgentShape& shape, const AgentParameters& parameters,
                       const AgentInputs& inputs, at::ScalarType dtype = at::kFloat);

}  // namespace kvp

#endif  // KVP_POLICY_AGENT_NETWORK_H_

// What an agent is trained to lower: losses over one context's scores, each with its gradient in
// closed form or estimated.

#ifndef KVP_TRAINER_OBJECTIVE_H_
#define KVP_TRAINER_OBJECTIVE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"

namespace kvp {

struct ObjectiveInput {
  at::Tensor scores;      // fp32 [heads, n]
  at::Tensor importance;  // fp32 [heads, n]
  // The context's entries, of which the n are a uniform sample (or all).
  int64_t entries = 0;
  // −R(σ*) of each head's whole context: fp64 [heads]. Heads where it is 0 have loss 1 and no
  // gradient.
  at::Tensor oracle_cost;
  // Seeds of each head's sampling, for objectives that sample.
  std::vector<uint64_t> seeds;
};

struct ObjectiveResult {
  at::Tensor loss;      // fp64 [heads]
  at::Tensor gradient;  // fp32 [heads, n]: d loss / d scores
};

// Immutable, thread-safe.
class Objective {
 public:
  virtual ~Objective() = default;
  virtual ObjectiveResult Evaluate(const ObjectiveInput& input) const = 0;
};

struct ObjectiveOptions {
  // "exact": E[R(σ)]/R(σ*) under Plackett–Luce in closed form (policy/plackett_luce.h).
  // "rloo": the same by REINFORCE with a leave-one-out baseline, over `permutations` rankings of
  // one context. "log_rank": Σ_i I_i·log E[rank_i] / Σ_i I_i, by Jensen an upper bound on the
  // importance-weighted mean log rank: every
  //   halving of the budget counts the same.
  // "exact+log_rank": the first plus `log_rank_weight` times the third.
  std::string name = "exact";
  int64_t permutations = 8;
  double log_rank_weight = 1;
};

// INVALID_ARGUMENT naming the option and its value.
absl::StatusOr<std::unique_ptr<Objective>> MakeObjective(const ObjectiveOptions& options);

}  // namespace kvp

#endif  // KVP_TRAINER_OBJECTIVE_H_

// What an agent is trained to lower: losses over contexts' scores, each with its gradient, in
// closed form or estimated. Contexts are of different lengths and never padded: every entry counts.

#ifndef KVP_TRAINER_OBJECTIVE_H_
#define KVP_TRAINER_OBJECTIVE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace kvp {

struct ObjectiveInput {
  at::Tensor scores;      // fp32 [heads, n]
  at::Tensor importance;  // fp32 [heads, n]
  // The context's entries, of which the n are a uniform sample (or all).
  int64_t entries = 0;
  // −R(σ*) of each head's whole context: fp64 [heads]. Heads where it is 0 have no gradient.
  at::Tensor oracle_cost;
  // Seeds of each head's sampling, for objectives that sample.
  std::vector<uint64_t> seeds;
};

struct ObjectiveResult {
  at::Tensor loss;      // fp64 [heads]
  at::Tensor gradient;  // fp32 [heads, n]: d loss / d scores
};

// Immutable, thread-safe. Heads never influence one another.
class Objective {
 public:
  virtual ~Objective() = default;

  // Of one context by itself.
  virtual ObjectiveResult Evaluate(const ObjectiveInput& context) const = 0;

  // Whether a context's result depends on the batch's others: then they come together, through
  // EvaluateBatch.
  virtual bool couples_contexts() const { return false; }
  // Of the contexts of a batch, in their order. The batch's loss is the mean of theirs.
  virtual std::vector<ObjectiveResult> EvaluateBatch(absl::Span<const ObjectiveInput> batch) const;
};

struct ObjectiveOptions {
  // One of ObjectiveNames().
  std::string name = "exact+log_rank";
  // Rankings that rloo draws of each context.
  int64_t permutations = 8;
  // Weight of the second part of exact+log_rank.
  double log_rank_weight = 1;
  // Others that each entry is compared with in exact, log_rank and exact+log_rank, drawn anew in
  // each step; 0 for all.
  int64_t pairs = 0;
  // How much each budget counts in rloo, as BudgetWeights::Parse reads it.
  std::string budget_weights = "uniform";
};

// All there are, in the order in which help shows them:
//   exact, log_rank, exact+log_rank    trainer/closed_form_objectives.h
//   rloo, paper                        trainer/sampled_objectives.h
//   regression, listwise               trainer/supervised_objectives.h
const std::vector<std::string>& ObjectiveNames();

// INVALID_ARGUMENT naming the option and its value.
absl::StatusOr<std::unique_ptr<Objective>> MakeObjective(const ObjectiveOptions& options);

}  // namespace kvp

#endif  // KVP_TRAINER_OBJECTIVE_H_

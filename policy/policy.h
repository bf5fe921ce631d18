// Eviction policies: what an entry of a KV cache is worth, and how many each head keeps.

#ifndef KVP_POLICY_POLICY_H_
#define KVP_POLICY_POLICY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "policy/policy_input.h"
#include "policy/selection.h"

namespace kvp {

// How a budget, a number of entries for each head, is spread over heads (policy/head_budgets.h).
enum class BudgetSpread {
  kEven,     // every head keeps as many
  kPyramid,  // early layers keep more
  kLayer,    // a layer's heads compete for its entries
  kModel,    // all heads compete
};

// What there is to know of a policy without making it.
struct PolicyInfo {
  std::string name;     // as in --policy and in results.json
  std::string summary;  // a few words

  // What Score reads beside keys, values and positions: the fields of PolicyInput of these names.
  bool recent_queries = false;
  bool query_moments = false;  // queries.means and queries.covariances
  bool attention_sums = false;
  bool replay_attention = false;
  bool importance = false;
  // The file that it is made from, as the flag is called: "agents" or "q-filters"; "" for none.
  std::string file;

  // Whether an entry's score depends on that entry's key, value and position alone (and on the
  // head and the sequence's seed): then it can be scored once, when it is written, between the
  // chunks of a prefill and while decoding. The scores of all other policies depend on the other
  // entries, or on what attention has shown so far.
  bool scores_once = false;
  BudgetSpread spread = BudgetSpread::kEven;

  bool reads_queries() const { return recent_queries || query_moments || attention_sums; }
  // Whether Score reads keys, values and positions only (and what it was made from): all that a
  // cache shows by itself. Policies of this class compare like for like; those that see queries,
  // a second pass or the future know more.
  bool reads_entries_only() const { return !reads_queries() && !replay_attention && !importance; }
};

// Scores entries by how much they are worth keeping. Immutable and thread-safe.
class Policy {
 public:
  virtual ~Policy() = default;

  virtual const PolicyInfo& info() const = 0;
  const std::string& name() const { return info().name; }

  // [heads, tokens], fp32 or fp64: larger is kept longer. Only the order within a head counts,
  // but for a spread of kLayer or kModel.
  //
  // INVALID_ARGUMENT for input that the policy can't score (a shape, a head it has no agent for);
  // FAILED_PRECONDITION, naming it, where something that it needs isn't there.
  virtual absl::StatusOr<at::Tensor> Score(const PolicyInput& input) const = 0;

  // Entries that each head keeps, so that their mean is `mean` (over the model's heads: all heads
  // of a layer must be in the input, with a spread of kModel all of the model). INVALID_ARGUMENT
  // unless 1 <= mean <= tokens.
  absl::StatusOr<std::vector<int64_t>> HeadBudgets(const PolicyInput& input,
                                                   const at::Tensor& scores, int64_t mean,
                                                   const ProtectedTokens& protected_tokens) const;
};

struct PolicyOptions {
  // The agents.safetensors that "kvp" needs.
  std::string agents_path;
  // The q_filters.safetensors that "q_filter" needs (policy/q_filter_file.h).
  std::string q_filters_path;
};

// A policy by its name: one of PolicyNames(), or "ada:" and such a name: the same scores, but the
// heads of a layer compete for its entries (BudgetSpread::kLayer). INVALID_ARGUMENT naming an
// unknown one and listing those there are.
absl::StatusOr<PolicyInfo> FindPolicy(absl::string_view name);

// The same, made. INVALID_ARGUMENT where its file isn't named; errors of loading it.
absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(const std::string& name,
                                                   const PolicyOptions& options = {});

// All policies, in the order in which reports show them, and their names.
const std::vector<PolicyInfo>& Policies();
const std::vector<std::string>& PolicyNames();

}  // namespace kvp

#endif  // KVP_POLICY_POLICY_H_

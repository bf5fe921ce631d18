// The policies of a run, and the agents that go with the model.

#ifndef KVP_EVAL_AGENTS_H_
#define KVP_EVAL_AGENTS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llm/decoder.h"
#include "policy/policy.h"

namespace kvp {

// FAILED_PRECONDITION, naming the file, the field and both values, where the agents were trained
// for another model than `decoder`. Returns their provenance as strings: "objective", "seed",
// "training_data_hash", "held_out_cost", ….
absl::StatusOr<std::map<std::string, std::string>> CheckAgents(const std::string& agents_path,
                                                               const Decoder& decoder);

// FAILED_PRECONDITION, naming the file, the field and both values, where the filters of policy
// q_filter were made for another model than `decoder`.
absl::Status CheckQFilters(const std::string& q_filters_path, const Decoder& decoder);

// Makes the named policies, in that order. Where `names` is empty, all of PolicyNames() but those
// whose file isn't named, which are logged. Errors of MakePolicy.
absl::StatusOr<std::vector<std::unique_ptr<Policy>>> MakePolicies(
    const std::vector<std::string>& names, const PolicyOptions& options);

}  // namespace kvp

#endif  // KVP_EVAL_AGENTS_H_

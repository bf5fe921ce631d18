// QFilterScorer: policy q_filter with the filters of a model.

#ifndef KVP_POLICY_Q_FILTER_SCORER_H_
#define KVP_POLICY_Q_FILTER_SCORER_H_

#include <memory>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "policy/policy_input.h"
#include "policy/q_filter_file.h"

namespace kvp {

// Immutable, thread-safe.
class QFilterScorer {
 public:
  // Errors of LoadQFilters.
  static absl::StatusOr<std::unique_ptr<QFilterScorer>> Load(const std::string& path);

  // fp32 [heads, tokens]. INVALID_ARGUMENT for a head without a filter, or another head_dim. Throws
  // what torch throws.
  absl::StatusOr<at::Tensor> Score(const PolicyInput& input) const;

 private:
  explicit QFilterScorer(QFilterFile file) : file_(std::move(file)) {}

  const QFilterFile file_;
};

}  // namespace kvp

#endif  // KVP_POLICY_Q_FILTER_SCORER_H_

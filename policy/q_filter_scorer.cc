#include "policy/q_filter_scorer.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "policy/heuristics/q_filter.h"
#include "policy/stacked_heads.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<std::unique_ptr<QFilterScorer>> QFilterScorer::Load(const std::string& path) {
  ASSIGN_OR_RETURN(QFilterFile file, LoadQFilters(path));
  return std::unique_ptr<QFilterScorer>(new QFilterScorer(std::move(file)));
}

absl::StatusOr<at::Tensor> QFilterScorer::Score(const PolicyInput& input) const {
  const at::Tensor& filters = file_.filters;
  ASSIGN_OR_RETURN(const std::vector<int64_t> index,
                   IndicesOf(input.heads, filters.size(0), filters.size(1)));
  if (input.keys.size(2) != filters.size(2)) {
    return absl::InvalidArgumentError(
        absl::StrCat("head_dim is ", input.keys.size(2), ", the filters' is ", filters.size(2)));
  }
  return QFilterScores(input.keys,
                       SelectHeads(filters.flatten(0, 1), index).to(input.keys.device()));
}

}  // namespace kvp

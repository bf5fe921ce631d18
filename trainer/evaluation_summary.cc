#include "trainer/evaluation_summary.h"

#include <limits>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "trainer/group_trainer.h"

namespace kvp {

std::string HeadName(int64_t head, int64_t kv_heads) {
  return absl::StrCat("layer ", head / kv_heads, ", KV head ", head % kv_heads);
}

double MeanOfFinite(const at::Tensor& values) {
  return values.masked_select(values.isfinite()).mean().item<double>();
}

absl::StatusOr<EvaluationSummary> Summarize(const at::Tensor& sums, int64_t kv_heads) {
  const at::Tensor counts = sums.select(1, sums.size(1) - 1);
  const int64_t fewest = counts.argmin().item<int64_t>();
  if (counts[fewest].item<double>() == 0) {
    return absl::DataLossError(
        absl::StrCat(HeadName(fewest, kv_heads), ": every held-out trace lacks blocks of it"));
  }
  const GroupMetrics means = GroupTrainer::Means(sums);
  const at::Tensor finite = means.cost.isfinite();
  const at::Tensor none = at::full({}, -std::numeric_limits<double>::infinity(), at::kDouble);
  const at::Tensor costs = at::where(finite, means.cost, none);
  EvaluationSummary summary;
  summary.held_out_cost = MeanOfFinite(means.cost);
  summary.worst_head = costs.argmax().item<int64_t>();
  summary.worst_cost = costs[summary.worst_head].item<double>();
  for (int64_t budget = 0; budget < means.retained.size(1); ++budget) {
    summary.retained.push_back(
        means.retained.select(1, budget).masked_select(finite).mean().item<double>());
  }
  return summary;
}

}  // namespace kvp

#include "trainer/training_result.h"

#include <cmath>

#include "ATen/ATen.h"
#include "trainer/gather_rows.h"

namespace kvp {
namespace {

// Of the heads whose cost is finite; that of a head whose keys or values aren't numbers is not.
double MeanCost(const std::vector<double>& costs) {
  double sum = 0;
  int64_t finite = 0;
  for (const double cost : costs) {
    if (!std::isfinite(cost)) continue;
    sum += cost;
    ++finite;
  }
  return sum / static_cast<double>(finite);
}

}  // namespace

void GatherAgents(Communicator& communicator, const ProcessGrid& grid,
                  absl::Span<const std::unique_ptr<GroupTrainer>> groups, TrainingResult* result) {
  std::vector<at::Tensor> own_rows;
  std::vector<AgentParameters> own;
  for (const auto& group : groups) {
    const GroupMetrics& kept = group->kept_metrics();
    own_rows.push_back(at::cat(
        {kept.cost.unsqueeze(1), kept.retained, group->kept_steps().to(at::kDouble).unsqueeze(1),
         group->stopped().to(at::kDouble).unsqueeze(1)},
        1));
    own.push_back(group->kept_parameters());
  }
  AgentFile& agents = result->agents;
  for (const auto& [name, first] : own[0]) {
    std::vector<at::Tensor> of_groups;
    for (const AgentParameters& of_group : own) of_groups.push_back(of_group.at(name));
    agents.parameters[name] = GatherRows(communicator, grid, at::cat(of_groups));
  }
  const at::Tensor rows = GatherRows(communicator, grid, at::cat(own_rows));
  if (communicator.rank() != 0) return;
  const int64_t budgets = rows.size(1) - 3;
  for (int64_t head = 0; head < rows.size(0); ++head) {
    const double* row = rows[head].data_ptr<double>();
    result->held_out_cost.push_back(row[0]);
    result->retained.emplace_back(row + 1, row + 1 + budgets);
    result->best_steps.push_back(static_cast<int64_t>(row[1 + budgets]));
    if (row[2 + budgets] != 0) result->stopped_heads.push_back(head);
  }
  agents.held_out_cost = MeanCost(result->held_out_cost);
  agents.held_out_costs = result->held_out_cost;
  agents.best_steps = result->best_steps;
}

void GatherHeuristics(Communicator& communicator, const ProcessGrid& grid,
                      absl::Span<const std::unique_ptr<Policy>> policies, const at::Tensor& sums,
                      TrainingResult* result) {
  const at::Tensor all = GatherRows(communicator, grid, sums);
  if (communicator.rank() != 0) return;
  result->heuristic_costs.resize(result->held_out_cost.size());
  const int64_t count = static_cast<int64_t>(policies.size());
  for (int64_t policy = 0; policy < count; ++policy) {
    const int64_t columns = all.size(1) / count;
    const at::Tensor costs = GroupTrainer::Means(all.narrow(1, policy * columns, columns)).cost;
    if (!costs.isfinite().all().item<bool>()) continue;
    result->heuristics.push_back(policies[policy]->name());
    for (int64_t head = 0; head < costs.size(0); ++head) {
      result->heuristic_costs[head].push_back(costs[head].item<double>());
    }
  }
}

}  // namespace kvp

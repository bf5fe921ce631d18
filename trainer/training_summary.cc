#include "trainer/training_summary.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvp {
namespace {

// JSON has no infinities.
nlohmann::json Number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

double MeanOfFinite(const std::vector<double>& values) {
  double sum = 0;
  int64_t count = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    sum += value;
    ++count;
  }
  return sum / static_cast<double>(count);
}

nlohmann::json Row(const HeadRow& row) {
  nlohmann::json json = {{"layer", row.layer},
                         {"kv_head", row.kv_head},
                         {"cost", Number(row.cost)},
                         {"best_step", row.best_step},
                         {"stopped", row.stopped}};
  if (!row.best_heuristic.empty()) {
    json["best_heuristic"] = row.best_heuristic;
    json["best_heuristic_cost"] = Number(row.best_heuristic_cost);
    json["gap_closed"] = Number(row.gap_closed);
  }
  return json;
}

}  // namespace

std::vector<HeadRow> HeadTable(const TrainingResult& result) {
  std::vector<HeadRow> table;
  const int64_t kv_heads = result.agents.kv_heads;
  for (size_t head = 0; head < result.held_out_cost.size(); ++head) {
    HeadRow& row = table.emplace_back();
    row.layer = static_cast<int64_t>(head) / kv_heads;
    row.kv_head = static_cast<int64_t>(head) % kv_heads;
    row.cost = result.held_out_cost[head];
    row.best_step = result.best_steps[head];
    row.stopped = std::count(result.stopped_heads.begin(), result.stopped_heads.end(),
                             static_cast<int64_t>(head)) > 0;
    if (result.heuristics.empty()) continue;
    const std::vector<double>& costs = result.heuristic_costs[head];
    const size_t best = std::min_element(costs.begin(), costs.end()) - costs.begin();
    row.best_heuristic = result.heuristics[best];
    row.best_heuristic_cost = costs[best];
    // Nothing is left to close behind a policy that is the oracle's equal.
    row.gap_closed = costs[best] > 1 ? (costs[best] - row.cost) / (costs[best] - 1) : 1;
  }
  return table;
}

nlohmann::json SummaryJson(const TrainingOptions& options, const TrainingResult& result, int ranks,
                           double wall_seconds) {
  const std::vector<double>& costs = result.held_out_cost;
  nlohmann::json retained = nlohmann::json::object();
  for (size_t b = 0; b < options.group.budgets.size(); ++b) {
    std::vector<double> of_heads;
    for (const std::vector<double>& of_head : result.retained) of_heads.push_back(of_head[b]);
    retained[absl::StrCat(options.group.budgets[b])] = Number(MeanOfFinite(of_heads));
  }
  nlohmann::json per_head = nlohmann::json::array();
  for (const double cost : costs) per_head.push_back(Number(cost));
  nlohmann::json table = nlohmann::json::array();
  for (const HeadRow& row : HeadTable(result)) table.push_back(Row(row));
  nlohmann::json heuristics = nlohmann::json::object();
  for (size_t i = 0; i < result.heuristics.size(); ++i) {
    std::vector<double> of_heads;
    for (const std::vector<double>& of_head : result.heuristic_costs) {
      of_heads.push_back(of_head[i]);
    }
    heuristics[result.heuristics[i]] = Number(MeanOfFinite(of_heads));
  }
  return {
      {"held_out_cost", Number(result.agents.held_out_cost)},
      {"held_out_cost_worst", Number(*std::max_element(costs.begin(), costs.end()))},
      {"held_out_cost_per_head", per_head},
      {"heuristic_costs", heuristics},
      {"per_head", table},
      {"retained", retained},
      {"stopped_heads", result.stopped_heads},
      {"model", result.agents.model_name},
      {"objective", result.agents.objective},
      {"seed", result.agents.seed},
      {"settings", AgentSettings(options)},
      {"training_data_hash", result.agents.training_data_hash},
      {"heads", costs.size()},
      {"ranks", ranks},
      {"steps", result.steps},
      {"batch", options.batch},
      {"train_traces", result.train_traces},
      {"train_contexts", result.train_contexts},
      {"held_out_traces", result.held_out_traces},
      {"held_out_contexts", result.held_out_contexts},
      {"incomplete_head_traces", result.incomplete_head_traces},
      {"contexts_per_second", result.contexts_per_second},
      {"training_seconds", result.training_seconds},
      {"wall_seconds", wall_seconds},
      {"data_wait_share", Number(result.waiting_seconds / std::max(1e-9, result.training_seconds))},
  };
}

std::vector<std::string> HeadTableLines(const std::vector<HeadRow>& table, size_t rows) {
  std::vector<HeadRow> sorted;
  std::vector<double> costs;
  std::vector<double> gaps;
  for (const HeadRow& row : table) {
    costs.push_back(row.cost);
    if (row.best_heuristic.empty()) continue;
    sorted.push_back(row);
    gaps.push_back(row.gap_closed);
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const HeadRow& a, const HeadRow& b) {
    return (std::isfinite(a.gap_closed) ? a.gap_closed : -INFINITY) <
           (std::isfinite(b.gap_closed) ? b.gap_closed : -INFINITY);
  });
  std::vector<std::string> lines;
  lines.push_back(absl::StrFormat("  %-22s %8s  %-18s %8s %8s", "head", "cost", "best heuristic",
                                  "its cost", "closed"));
  for (size_t i = 0; i < std::min(rows, sorted.size()); ++i) {
    const HeadRow& row = sorted[i];
    lines.push_back(absl::StrFormat("  %-22s %8.4f  %-18s %8.4f %6.1f %%%s",
                                    absl::StrCat("layer ", row.layer, ", KV head ", row.kv_head),
                                    row.cost, row.best_heuristic, row.best_heuristic_cost,
                                    100 * row.gap_closed, row.stopped ? "  diverged" : ""));
  }
  if (sorted.size() > rows) {
    lines.push_back(absl::StrCat("  (the other ", sorted.size() - rows, " heads close more)"));
  }
  lines.push_back(absl::StrFormat("  %-22s %8.4f  %-18s %8s %6.1f %%", "mean of all",
                                  MeanOfFinite(costs), "", "", 100 * MeanOfFinite(gaps)));
  return lines;
}

}  // namespace kvp

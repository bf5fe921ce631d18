#include "eval/findings.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "eval/html.h"

namespace kvp {
namespace {

TaskRow AccuracyTaskRow(const std::string& policy, const CacheResult& cell) {
  TaskRow row;
  row.policy = policy;
  row.values = cell.tasks;
  for (const auto& [task, detail] : cell.task_details) row.intervals[task] = detail.interval;
  row.mean = cell.task_mean;
  row.all = cell.accuracy;
  row.all_interval = cell.accuracy_interval;
  return row;
}

double HeadlineBudget(const std::vector<double>& budgets) {
  if (budgets.empty()) return 0;
  const bool eighth = std::find(budgets.begin(), budgets.end(), 0.125) != budgets.end();
  return eighth ? 0.125 : budgets.back();
}

}  // namespace

bool IsHeuristic(absl::string_view policy) { return policy != "kvp" && policy != "oracle"; }

double ValueAt(const ByBudget<double>& values, double budget) {
  const auto found = values.find(budget);
  return found == values.end() ? NAN : found->second;
}

std::vector<PolicyRow> AccuracyRows(const Results& results) {
  std::vector<PolicyRow> rows;
  for (const auto& [policy, cells] : results.in_model) {
    PolicyRow row;
    row.policy = policy;
    for (const auto& [budget, cell] : cells) {
      row.values[budget] = cell.accuracy;
      row.intervals[budget] = cell.accuracy_interval;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<PolicyRow> PerplexityRows(const Results& results) {
  std::vector<PolicyRow> rows;
  for (const auto& [policy, cells] : results.in_model) {
    PolicyRow row;
    row.policy = policy;
    for (const auto& [budget, cell] : cells) {
      row.values[budget] = cell.perplexity;
      // Of the difference from the whole cache; d exp(x) = exp(x) dx.
      row.errors[budget] = cell.perplexity * cell.nats_over_full_cache_standard_error;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<PolicyRow> RetainedRows(const Results& results) {
  std::vector<PolicyRow> rows;
  for (const auto& [policy, offline] : results.offline) {
    rows.push_back({policy, offline.retained, {}, offline.retained_interval});
  }
  return rows;
}

std::vector<TaskRow> AccuracyTaskRows(const Results& results, double budget) {
  std::vector<TaskRow> rows;
  for (const auto& [policy, cells] : results.in_model) {
    const auto cell = cells.find(budget);
    if (cell != cells.end()) rows.push_back(AccuracyTaskRow(policy, cell->second));
  }
  if (!rows.empty()) rows.push_back(AccuracyTaskRow("whole cache", results.full_cache));
  return rows;
}

std::vector<TaskRow> RetainedTaskRows(const Results& results, double budget) {
  std::vector<TaskRow> rows;
  for (const auto& [policy, offline] : results.offline) {
    if (offline.retained.count(budget) == 0) continue;
    TaskRow row;
    row.policy = policy;
    for (const auto& [name, task] : offline.tasks) {
      row.values[name] = ValueAt(task.retained, budget);
      const auto interval = task.retained_interval.find(budget);
      if (interval != task.retained_interval.end()) row.intervals[name] = interval->second;
      row.mean += row.values[name] / static_cast<double>(offline.tasks.size());
    }
    row.all = offline.retained.at(budget);
    const auto interval = offline.retained_interval.find(budget);
    if (interval != offline.retained_interval.end()) row.all_interval = interval->second;
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<double> Budgets(const std::vector<PolicyRow>& rows) {
  std::set<double, std::greater<double>> budgets;
  for (const PolicyRow& row : rows) {
    for (const auto& [budget, value] : row.values) budgets.insert(budget);
  }
  return {budgets.begin(), budgets.end()};
}

bool HasQuestions(const Results& results) { return results.full_cache.questions > 0; }
bool HasText(const Results& results) { return results.full_cache.perplexity_tokens > 0; }

HeadlineFacts HeadlineFactsOf(const Results& results) {
  HeadlineFacts facts;
  facts.in_model = HasQuestions(results);
  const std::vector<PolicyRow> rows =
      facts.in_model ? AccuracyRows(results) : RetainedRows(results);
  facts.budget = HeadlineBudget(Budgets(rows));
  facts.kvp = facts.heuristic_value = facts.sees_more_value = NAN;
  facts.top = facts.in_model ? results.full_cache.accuracy : NAN;
  for (const PolicyRow& row : rows) {
    const double value = ValueAt(row.values, facts.budget);
    if (row.policy == "kvp") {
      facts.kvp = value;
    } else if (row.policy == "oracle") {
      if (!facts.in_model) facts.top = value;
    } else {
      const bool entries_only = results.entries_only.count(row.policy) > 0;
      std::string& name = entries_only ? facts.heuristic : facts.sees_more;
      double& best = entries_only ? facts.heuristic_value : facts.sees_more_value;
      if (!name.empty() && !(value > best)) continue;
      name = row.policy;
      best = value;
    }
  }
  return facts;
}

std::string Headline(const Results& results) {
  const HeadlineFacts facts = HeadlineFactsOf(results);
  if (facts.budget == 0) return "Nothing was measured.";
  std::vector<std::pair<std::string, double>> parts = {
      {"kvp", facts.kvp},
      {absl::StrCat("the best heuristic (", facts.heuristic, ")"), facts.heuristic_value},
      {absl::StrCat("the best that sees more (", facts.sees_more, ")"), facts.sees_more_value},
      {facts.in_model ? "the whole cache" : "the oracle", facts.top}};
  std::string sentence = absl::StrCat("Keeping ", BudgetText(facts.budget), " of the cache");
  bool first = true;
  for (const auto& [subject, value] : parts) {
    if (!std::isfinite(value)) continue;
    if (first) {
      absl::StrAppend(&sentence, ": ", subject, facts.in_model ? " answers " : " holds ",
                      PercentText(value),
                      facts.in_model ? " of the questions right" : " of the future attention");
    } else {
      absl::StrAppend(&sentence, ", ", subject, " ", PercentText(value));
    }
    first = false;
  }
  return sentence + ".";
}

std::vector<std::vector<double>> GapClosed(const Results& results, double budget) {
  const PolicyOffline* kvp = nullptr;
  const PolicyOffline* oracle = nullptr;
  std::vector<const PolicyOffline*> heuristics;
  for (const auto& [policy, offline] : results.offline) {
    if (policy == "kvp") kvp = &offline;
    if (policy == "oracle") oracle = &offline;
    if (IsHeuristic(policy) && results.entries_only.count(policy) > 0) {
      heuristics.push_back(&offline);
    }
  }
  std::vector<std::vector<double>> gap;
  if (kvp == nullptr || oracle == nullptr || heuristics.empty()) return gap;
  for (size_t head = 0; head < kvp->heads.size() && head < oracle->heads.size(); ++head) {
    double best = -INFINITY;
    for (const PolicyOffline* heuristic : heuristics) {
      if (head >= heuristic->heads.size()) continue;
      const double value = ValueAt(heuristic->heads[head].retained, budget);
      if (value > best) best = value;
    }
    const double way = ValueAt(oracle->heads[head].retained, budget) - best;
    const size_t layer = static_cast<size_t>(std::max(0, kvp->heads[head].layer));
    if (layer >= gap.size()) gap.resize(layer + 1);
    gap[layer].push_back(way > 1e-6 ? (ValueAt(kvp->heads[head].retained, budget) - best) / way
                                    : NAN);
  }
  return gap;
}

}  // namespace kvp

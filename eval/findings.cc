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

using CellValue = std::function<double(const CacheResult&)>;

std::vector<PolicyRow> InModelRows(const Results& results, const CellValue& value,
                                   const CellValue& error) {
  std::vector<PolicyRow> rows;
  for (const auto& [policy, cells] : results.in_model) {
    PolicyRow row;
    row.policy = policy;
    for (const auto& [budget, cell] : cells) {
      row.values[budget] = value(cell);
      row.errors[budget] = error(cell);
    }
    rows.push_back(std::move(row));
  }
  return rows;
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
  return InModelRows(
      results, [](const CacheResult& cell) { return cell.accuracy; },
      [](const CacheResult& cell) { return cell.accuracy_standard_error; });
}

std::vector<PolicyRow> PerplexityRows(const Results& results) {
  return InModelRows(
      results, [](const CacheResult& cell) { return cell.perplexity; },
      // Of the difference from the whole cache; d exp(x) = exp(x) dx.
      [](const CacheResult& cell) {
        return cell.perplexity * cell.nats_over_full_cache_standard_error;
      });
}

std::vector<PolicyRow> RetainedRows(const Results& results) {
  std::vector<PolicyRow> rows;
  for (const auto& [policy, offline] : results.offline) {
    rows.push_back({policy, offline.retained, offline.retained_standard_error});
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
  facts.kvp = facts.heuristic_value = NAN;
  facts.top = facts.in_model ? results.full_cache.accuracy : NAN;
  for (const PolicyRow& row : rows) {
    const double value = ValueAt(row.values, facts.budget);
    if (row.policy == "kvp") {
      facts.kvp = value;
    } else if (row.policy == "oracle") {
      if (!facts.in_model) facts.top = value;
    } else if (facts.heuristic.empty() || value > facts.heuristic_value) {
      facts.heuristic = row.policy;
      facts.heuristic_value = value;
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
    if (IsHeuristic(policy)) heuristics.push_back(&offline);
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

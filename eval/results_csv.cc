#include "eval/results_csv.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "util/file.h"

namespace kvp {
namespace {

std::string Quoted(absl::string_view text) {
  if (text.find_first_of(",\"\r\n") == absl::string_view::npos) return std::string(text);
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

// Reads back as the same number.
std::string NumberOrNothing(double value) {
  if (!std::isfinite(value)) return "";
  return BudgetKey(value);
}

class CsvRows {
 public:
  explicit CsvRows(const Results& results) : results_(results) {}

  void Begin(absl::string_view part, absl::string_view policy) {
    part_ = std::string(part);
    policy_ = std::string(policy);
  }
  void Add(absl::string_view task, absl::string_view budget, absl::string_view metric, double value,
           const Interval& interval = {}, int64_t count = -1) {
    absl::StrAppend(&text_, part_, ",", Quoted(policy_), ",", results_.entries_only.count(policy_),
                    ",", Quoted(task), ",", budget, ",", metric, ",", NumberOrNothing(value), ",",
                    NumberOrNothing(interval.low), ",", NumberOrNothing(interval.high), ",",
                    count < 0 ? "" : absl::StrCat(count), "\n");
  }
  std::string text() && { return std::move(text_); }

 private:
  const Results& results_;
  std::string part_;
  std::string policy_;
  std::string text_ = "part,policy,entries_only,task,budget,metric,value,low,high,count\n";
};

Interval At(const ByBudget<Interval>& intervals, double budget) {
  const auto found = intervals.find(budget);
  return found == intervals.end() ? Interval() : found->second;
}

void AddOffline(const PolicyOffline& policy, int64_t traces, CsvRows& rows) {
  rows.Add("", "", "cost", policy.cost, policy.cost_interval, traces);
  for (const auto& [budget, share] : policy.retained) {
    rows.Add("", BudgetKey(budget), "retained", share, At(policy.retained_interval, budget),
             traces);
  }
  for (const auto& [name, task] : policy.tasks) {
    rows.Add(name, "", "cost", task.cost, task.cost_interval, task.traces);
    for (const auto& [budget, share] : task.retained) {
      rows.Add(name, BudgetKey(budget), "retained", share, At(task.retained_interval, budget),
               task.traces);
    }
  }
}

void AddCell(const std::string& budget, const CacheResult& cell, CsvRows& rows) {
  if (cell.questions > 0) {
    rows.Add("", budget, "accuracy", cell.accuracy, cell.accuracy_interval, cell.questions);
    rows.Add("", budget, "task_mean", cell.task_mean, {}, cell.questions);
  }
  for (const auto& [name, accuracy] : cell.tasks) {
    const auto detail = cell.task_details.find(name);
    const bool known = detail != cell.task_details.end();
    rows.Add(name, budget, "accuracy", accuracy, known ? detail->second.interval : Interval(),
             known ? detail->second.questions : -1);
  }
  if (cell.perplexity_tokens > 0) {
    rows.Add("", budget, "perplexity", cell.perplexity, {}, cell.perplexity_tokens);
  }
  rows.Add("", budget, "cache_bytes", cell.cache_bytes);
  rows.Add("", budget, "cache_share", cell.cache_share);
  rows.Add("", budget, "score_ms", cell.score_ms);
  rows.Add("", budget, "compact_ms", cell.compact_ms);
  rows.Add("", budget, "decode_ms_per_token", cell.decode_ms_per_token);
}

}  // namespace

std::string ResultsToCsv(const Results& results) {
  CsvRows rows(results);
  for (const auto& [name, policy] : results.offline) {
    rows.Begin("offline", name);
    AddOffline(policy, results.held_out_traces, rows);
  }
  for (const auto& [name, cells] : results.in_model) {
    rows.Begin("in_model", name);
    for (const auto& [budget, cell] : cells) AddCell(BudgetKey(budget), cell, rows);
  }
  if (!results.in_model.empty()) {
    rows.Begin("in_model", "whole_cache");
    AddCell("1", results.full_cache, rows);
  }
  return std::move(rows).text();
}

std::string CsvPathOf(const std::string& json_path) {
  return absl::StrCat(absl::StripSuffix(json_path, ".json"), ".csv");
}

absl::Status WriteResultsCsv(const std::string& path, const Results& results) {
  return WriteFileAtomically(path, {ResultsToCsv(results)});
}

}  // namespace kvp

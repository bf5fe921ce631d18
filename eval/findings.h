// What results say, before it is drawn: rows of tables, the headline, the gap closed.

#ifndef KVP_EVAL_FINDINGS_H_
#define KVP_EVAL_FINDINGS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "eval/bootstrap.h"
#include "eval/results.h"

namespace kvp {

// Every policy but kvp and the oracle.
bool IsHeuristic(absl::string_view policy);

// One policy in a table or a curve.
struct PolicyRow {
  std::string policy;
  ByBudget<double> values;
  ByBudget<double> errors;       // standard errors; may be empty
  ByBudget<Interval> intervals;  // may be empty
};

std::vector<PolicyRow> AccuracyRows(const Results& results);
std::vector<PolicyRow> PerplexityRows(const Results& results);
std::vector<PolicyRow> RetainedRows(const Results& results);

// One policy's numbers by task at one budget.
struct TaskRow {
  std::string policy;
  std::map<std::string, double> values;
  std::map<std::string, Interval> intervals;
  double mean = 0;  // of the tasks, each counting the same
  double all = 0;   // of all questions, or traces
  Interval all_interval;
};

// Answers right, the whole cache's last under the name "whole cache"; future attention kept.
std::vector<TaskRow> AccuracyTaskRows(const Results& results, double budget);
std::vector<TaskRow> RetainedTaskRows(const Results& results, double budget);

// NaN where the budget isn't there.
double ValueAt(const ByBudget<double>& values, double budget);
// All budgets of the rows, largest first.
std::vector<double> Budgets(const std::vector<PolicyRow>& rows);

// Whether questions were answered, and whether text was read.
bool HasQuestions(const Results& results);
bool HasText(const Results& results);

// The three numbers that matter most: of answers right where questions were asked, else of future
// attention kept.
struct HeadlineFacts {
  bool in_model = false;
  // 1/8 where it was measured, else the smallest; 0 where nothing was measured.
  double budget = 0;
  double kvp = 0;  // NaN where kvp wasn't measured
  // The best heuristic there that reads keys, values and positions only, as kvp does; may be empty.
  std::string heuristic;
  double heuristic_value = 0;  // NaN where there is none
  // The best one that sees more (queries, a second pass), but for the oracle; may be empty.
  std::string sees_more;
  double sees_more_value = 0;  // NaN where there is none
  double top = 0;              // the whole cache's, or the oracle's; NaN where it wasn't measured
};
HeadlineFacts HeadlineFactsOf(const Results& results);

// "Keeping 1/8 of the cache: kvp answers 95.8 % of the questions right, the best heuristic
// (key_diff) 78.4 %, the best that sees more (snap_kv) 90.1 %, the whole cache 96.4 %."
std::string Headline(const Results& results);

// How much of the way from the best of the heuristics that read keys, values and positions only to
// the oracle kvp goes, by retained mass at `budget`, for each [layer][KV head]; NaN where there is
// no way to go. Empty where kvp, the oracle or every heuristic is missing.
std::vector<std::vector<double>> GapClosed(const Results& results, double budget);

}  // namespace kvp

#endif  // KVP_EVAL_FINDINGS_H_

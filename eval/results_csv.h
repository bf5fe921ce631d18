// results.csv: what results.json says of policies, one number a row.

#ifndef KVP_EVAL_RESULTS_CSV_H_
#define KVP_EVAL_RESULTS_CSV_H_

#include <string>

#include "absl/status/status.h"
#include "eval/results.h"

namespace kvp {

// RFC 4180 but for line ends, which are "\n". Columns, named in the first row:
//   part          "offline" or "in_model"
//   policy        its name, or "whole_cache"
//   entries_only  1 for a policy that reads keys, values and positions only, else 0
//   task          its name, or empty: all tasks together
//   budget        as in results.json; empty for the cost, which sums budgets up; 1 for whole_cache
//   metric        as in results.json
//   value, low, high  low and high are the metric's interval; empty where there is none
//   count         traces, questions or tokens that the value is over; empty where it's neither
std::string ResultsToCsv(const Results& results);

// Beside the JSON of that name: "a/results.json" gives "a/results.csv"; other names get ".csv"
// behind them.
std::string CsvPathOf(const std::string& json_path);

absl::Status WriteResultsCsv(const std::string& path, const Results& results);

}  // namespace kvp

#endif  // KVP_EVAL_RESULTS_CSV_H_

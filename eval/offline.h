// Offline evaluation: policies ranked on recorded traces, without the model.

#ifndef KVP_EVAL_OFFLINE_H_
#define KVP_EVAL_OFFLINE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "eval/bootstrap.h"
#include "eval/results.h"
#include "policy/policy.h"
#include "storage/trace_reader.h"

namespace kvp {

struct OfflineOptions {
  std::string split = "held_out";
  // The model whose traces they must be; any where it is empty.
  std::string model_fingerprint;
  // Budgets of the tables, and those of the curves.
  std::vector<double> budgets = {0.5, 0.25, 0.125, 0.0625};
  std::vector<double> curve_budgets = {1,     0.75,    0.5,    0.375,    0.25,    0.1875,
                                       0.125, 0.09375, 0.0625, 0.046875, 0.03125, 0.015625};
  // Heads are read in groups of whole layers, as many as fit, but at least one layer: all of a
  // group's heads are scored at once.
  int64_t resident_bytes = int64_t{1} << 30;
  BootstrapOptions bootstrap;
};

struct OfflineResults {
  std::vector<std::pair<std::string, PolicyOffline>> policies;
  int64_t traces = 0;  // committed, of every split
  int64_t tokens = 0;  // in them
  int64_t held_out_traces = 0;
  double bytes_per_token = 0;
  int64_t corrupt_blocks = 0;
};

// Those of `policies` that can score the traces of the split without the model: policies that
// repeat the context can't, those that look at queries only where every trace has them recorded.
// The others are logged.
absl::StatusOr<std::vector<const Policy*>> OfflinePolicies(
    TraceReader& reader, const std::vector<const Policy*>& policies, const std::string& split);

// Scores every head's entries before the last cut of each trace of the split (the prompt's end)
// with every policy, and measures the pure rankings (ranking_metrics.h) against the labels of that
// cut. Means are over traces, then heads; a head whose labels are all zero in a trace doesn't count
// there, and neither does a trace from the group of heads on in which a block of it is corrupt.
// Intervals resample traces, each with its mean over heads; so are the means of a task.
// Policies that spread a budget over heads keep as many entries of each as they say. Attention of
// recorded queries is computed as in layers without a sliding window.
//
// NOT_FOUND where the split has no traces; DATA_LOSS where none is whole, or a block disagrees with
// its trace's record; INVALID_ARGUMENT where traces come from models of different geometry;
// FAILED_PRECONDITION where one comes from another model than options say; errors of the reader and
// the policies. Not thread-safe on the same reader's stream of reads, else free of state.
absl::StatusOr<OfflineResults> EvaluateOffline(TraceReader& reader,
                                               const std::vector<const Policy*>& policies,
                                               const OfflineOptions& options);

}  // namespace kvp

#endif  // KVP_EVAL_OFFLINE_H_

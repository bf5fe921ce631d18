// results.json: what an evaluation found, as one record that tools and the report read.
//
// The contract's keys: {"model", "traces", "tokens", "bytes_per_token", "offline": {POLICY:
// {"cost", "retained": {BUDGET: x}}}, "in_model": {POLICY: {BUDGET: {"accuracy", "tasks",
// "perplexity", "cache_bytes", "score_ms", "compact_ms", "decode_ms_per_token"}}}, "full_cache":
// {the same as a budget's}, "timing"}. Whatever else is in the file (intervals, standard errors,
// counts, curves, tasks, heads, provenance) stands beside these. Budgets are fractions, spelled
// shortest: "0.0625". Intervals are [low, high], or [null, null] where there are none; all are
// bootstrap percentile intervals (eval/bootstrap.h) of the confidence that "protocol" says.

#ifndef KVP_EVAL_RESULTS_H_
#define KVP_EVAL_RESULTS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "eval/bootstrap.h"

namespace kvp {

// Values by budget (a fraction of the cache), largest budget first.
template <typename T>
using ByBudget = std::map<double, T, std::greater<double>>;

// One KV head under one policy: means over the held-out traces.
struct HeadOffline {
  int32_t layer = 0;
  int32_t kv_head = 0;
  double cost = 0;
  ByBudget<double> retained;
  // Traces that the means are over: those whose importance isn't all zero for this head.
  int64_t traces = 0;
};

// One policy on the traces of one task: means over traces of the means over heads.
struct TaskOffline {
  double cost = 0;
  Interval cost_interval;
  ByBudget<double> retained;
  ByBudget<Interval> retained_interval;
  int64_t traces = 0;
};

// One policy on recorded traces: means over heads of the means over traces.
struct PolicyOffline {
  // R(ranking) / R(oracle's ranking): 1 is the oracle, larger is worse.
  double cost = 0;
  double cost_standard_error = 0;  // over traces
  Interval cost_interval;          // resampling traces
  // Share of the future attention mass that the top of the ranking holds.
  ByBudget<double> retained;
  ByBudget<double> retained_standard_error;
  ByBudget<Interval> retained_interval;
  std::map<std::string, TaskOffline> tasks;
  // The same share at more budgets, for drawing.
  ByBudget<double> curve;
  std::vector<HeadOffline> heads;  // layer-major
};

// Questions of one task.
struct TaskAccuracy {
  Interval interval;
  int64_t questions = 0;
};

// The model running on a compressed (or whole) cache.
struct CacheResult {
  // Questions whose answer was the likeliest token.
  double accuracy = 0;
  double accuracy_standard_error = 0;  // over prompts: questions of one prompt aren't independent
  Interval accuracy_interval;          // resampling prompts
  int64_t correct = 0;
  int64_t questions = 0;
  std::map<std::string, double> tasks;               // accuracy by task
  std::map<std::string, TaskAccuracy> task_details;  // of the same tasks
  double task_mean = 0;                              // of tasks, each counting the same
  // exp(nats a token) of held-out text after a compressed context; 0 where no text was read.
  double perplexity = 0;
  double nats_per_token = 0;
  double nats_standard_error = 0;  // over windows
  // What a token costs more than with the whole cache, window by window: far less noisy than the
  // perplexities themselves.
  double nats_over_full_cache = 0;
  double nats_over_full_cache_standard_error = 0;  // over windows
  int64_t perplexity_tokens = 0;
  // K and V allocated after compaction, read from the tensors: mean over prompts.
  double cache_bytes = 0;
  double cache_share = 0;  // of the whole cache's bytes
  // Medians, measured with nothing else running in the process.
  double score_ms = 0;
  double compact_ms = 0;
  double decode_ms_per_token = 0;
};

struct ModelFacts {
  std::string fingerprint;
  int64_t layers = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  std::string device;
  std::string dtype;
};

struct Results {
  std::string model;
  ModelFacts model_facts;

  // All committed traces of the shards, and the tokens in them (prompt and continuation).
  int64_t traces = 0;
  int64_t tokens = 0;
  // Encoded bytes of the head blocks over all heads, for each recorded token of the held-out
  // traces.
  double bytes_per_token = 0;
  int64_t held_out_traces = 0;
  // Blocks that were skipped because of their checksum.
  int64_t corrupt_blocks = 0;

  // By policy, in the order in which reports show them. Empty where that part wasn't run.
  std::vector<std::pair<std::string, PolicyOffline>> offline;
  std::vector<std::pair<std::string, ByBudget<CacheResult>>> in_model;
  CacheResult full_cache;
  // Those of the policies above that read keys, values and positions only.
  std::set<std::string> entries_only;

  // Of all intervals.
  double confidence = 0;
  int64_t bootstrap_resamples = 0;

  uint64_t seed = 0;
  int64_t prompts = 0;
  double context_tokens = 0;  // mean over prompts
  int64_t text_windows = 0;
  int64_t protected_sinks = 0;
  int64_t protected_recent = 0;
  int64_t threads = 0;

  std::map<std::string, double> timing;  // "prefill_ms", "offline_seconds", …
  // The trainer's own JSON object, as text; may be empty. It becomes "timing"."training".
  std::string training_json;
  // The agents' provenance, as strings; may be empty.
  std::map<std::string, std::string> agents;
};

// "0.0625": shortest, as keys of results.json are spelled.
std::string BudgetKey(double budget);

// INVALID_ARGUMENT where training_json isn't a JSON object.
absl::StatusOr<std::string> ResultsToJson(const Results& results);
// INVALID_ARGUMENT naming `path` and the field that is missing or of another type.
absl::StatusOr<Results> ResultsFromJson(absl::string_view text, const std::string& path);

absl::Status WriteResults(const std::string& path, const Results& results);
absl::StatusOr<Results> ReadResults(const std::string& path);

}  // namespace kvp

#endif  // KVP_EVAL_RESULTS_H_

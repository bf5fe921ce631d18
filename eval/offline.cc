#include "eval/offline.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <utility>

#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "eval/ranking_metrics.h"
#include "eval/statistics.h"
#include "policy/policy_input.h"
#include "policy/query_statistics.h"
#include "policy/selection.h"
#include "util/head_split.h"
#include "util/logging.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

// A trace's entries before the last cut, for the heads of one group.
struct TraceHeads {
  at::Tensor keys;              // bf16 [heads, cut, head_dim]
  at::Tensor values;            // bf16 [heads, cut, head_dim]
  at::Tensor importance;        // fp32 [heads, cut]
  at::Tensor queries;           // bf16 [heads, group, cut, head_dim], or undefined: none are needed
  std::vector<int64_t> filled;  // entries read, by head
};

struct HeldOutTrace {
  TraceRecord record;
  TraceId id{};
  int64_t cut = 0;
  bool whole = true;
};

uint64_t SequenceSeed(const TraceId& id) {
  uint64_t seed = 0;
  std::memcpy(&seed, id.data(), sizeof(seed));
  return seed;
}

absl::StatusOr<std::vector<HeldOutTrace>> ListHeldOut(TraceReader& reader,
                                                      const OfflineOptions& options) {
  const std::string& split = options.split;
  ASSIGN_OR_RETURN(std::vector<TraceRecord> records, reader.ListTraces(split));
  if (records.empty()) {
    return absl::NotFoundError(absl::StrCat("split \"", split, "\": the shards hold no traces"));
  }
  std::vector<HeldOutTrace> traces;
  for (TraceRecord& record : records) {
    HeldOutTrace trace;
    ASSIGN_OR_RETURN(trace.id, TraceIdFromBytes(record.trace_id()));
    const std::string name = absl::StrCat("trace ", TraceIdText(trace.id));
    const ModelInfo& model = traces.empty() ? record.model() : traces.front().record.model();
    if (record.model().layers() != model.layers() ||
        record.model().kv_heads() != model.kv_heads() ||
        record.model().head_dim() != model.head_dim()) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, ": ", record.model().layers(), " layers × ", record.model().kv_heads(),
          " KV heads of ", record.model().head_dim(), ", unlike the traces before it"));
    }
    if (!options.model_fingerprint.empty() &&
        record.model().fingerprint() != options.model_fingerprint) {
      return absl::FailedPreconditionError(
          absl::StrCat(name, ": the model's fingerprint is ", record.model().fingerprint(),
                       ", that of the model under evaluation ", options.model_fingerprint));
    }
    trace.cut = record.cuts().empty() ? 0 : record.cuts(record.cuts_size() - 1);
    if (trace.cut < 1 || trace.cut > record.entries()) {
      return absl::DataLossError(absl::StrCat(name, ": last cut ", trace.cut, " isn't in [1, ",
                                              record.entries(), "], its entries"));
    }
    trace.record = std::move(record);
    traces.push_back(std::move(trace));
  }
  return traces;
}

TraceHeads EmptyHeads(const HeldOutTrace& trace, int64_t heads, bool with_queries) {
  const int64_t head_dim = trace.record.model().head_dim();
  TraceHeads result;
  result.keys = at::zeros({heads, trace.cut, head_dim}, at::kBFloat16);
  result.values = at::zeros({heads, trace.cut, head_dim}, at::kBFloat16);
  result.importance = at::zeros({heads, trace.cut}, at::kFloat);
  result.filled.assign(heads, 0);
  const int64_t group = trace.record.recorded_query_heads();
  if (with_queries && group > 0) {
    result.queries = at::zeros({heads, group, trace.cut, head_dim}, at::kBFloat16);
  }
  return result;
}

// Copies what of the block lies before the last cut.
absl::Status AddBlock(const HeldOutTrace& trace, const HeadBlock& block, int64_t head,
                      TraceHeads& heads) {
  const std::string name =
      absl::StrCat("trace ", TraceIdText(trace.id), ", layer ", block.key.head.layer, ", KV head ",
                   block.key.head.kv_head, ", block ", block.key.block);
  if (block.head_dim != trace.record.model().head_dim() || block.cuts != trace.record.cuts_size() ||
      block.first_token + block.tokens > trace.record.entries()) {
    return absl::DataLossError(absl::StrCat(
        name, ": head_dim ", block.head_dim, ", ", block.cuts, " cuts and tokens up to ",
        block.first_token + block.tokens, " disagree with the trace's record"));
  }
  const int64_t rows =
      std::min<int64_t>(block.tokens, std::max<int64_t>(0, trace.cut - block.first_token));
  if (rows == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const at::Tensor keys,
                   TensorFromBytes(block.keys, at::kBFloat16, {block.tokens, block.head_dim}));
  ASSIGN_OR_RETURN(const at::Tensor values,
                   TensorFromBytes(block.values, at::kBFloat16, {block.tokens, block.head_dim}));
  ASSIGN_OR_RETURN(const at::Tensor labels,
                   TensorFromBytes(block.labels, at::kHalf, {block.cuts, block.tokens}));
  const auto copy = [&](const at::Tensor& target, const at::Tensor& source) {
    target.select(0, head).narrow(0, block.first_token, rows).copy_(source.narrow(0, 0, rows));
  };
  copy(heads.keys, keys);
  copy(heads.values, values);
  copy(heads.importance, labels.select(0, block.cuts - 1));
  if (heads.queries.defined()) {
    if (block.query_heads != heads.queries.size(1)) {
      return absl::DataLossError(absl::StrCat(name, ": queries of ", block.query_heads,
                                              " heads disagree with the trace's record"));
    }
    ASSIGN_OR_RETURN(const at::Tensor queries,
                     TensorFromBytes(block.queries, at::kBFloat16,
                                     {block.query_heads, block.tokens, block.head_dim}));
    heads.queries[head].narrow(1, block.first_token, rows).copy_(queries.narrow(1, 0, rows));
  }
  heads.filled[head] += rows;
  return absl::OkStatus();
}

// What the recorded queries show: of each head as if it were a layer of its own.
ObservedQueries ObservedIn(const TraceHeads& entries, const at::Tensor& keys,
                           const std::vector<double>& rope_frequencies,
                           QueryStatistics::Wanted wanted) {
  const int64_t heads = keys.size(0);
  ObservedQueries observed;
  observed.scale = 1 / std::sqrt(static_cast<double>(keys.size(2)));
  observed.windows.assign(static_cast<size_t>(heads), 0);
  std::vector<at::Tensor> recent, attention_sums, means, covariances;
  for (int64_t head = 0; head < heads; ++head) {
    QueryStatistics statistics(1, rope_frequencies, wanted);
    LayerAttention attention;
    attention.queries = entries.queries[head].to(at::kFloat);
    attention.keys = keys[head].unsqueeze(0);
    attention.scale = observed.scale;
    statistics.Add(attention);
    recent.push_back(statistics.recent());
    attention_sums.push_back(statistics.attention_sums());
    means.push_back(statistics.means());
    covariances.push_back(statistics.covariances());
  }
  if (wanted.recent) observed.recent = at::cat(recent);
  if (wanted.attention_sums) observed.attention_sums = at::cat(attention_sums);
  if (wanted.moments) observed.means = at::cat(means);
  if (wanted.moments) observed.covariances = at::cat(covariances);
  return observed;
}

// Running means of one policy.
struct PolicyMeans {
  std::vector<RunningMean> cost;                   // [head]
  std::vector<std::vector<RunningMean>> retained;  // [head][budget], tables then curve
  // Of each trace over the heads of all groups, for intervals and tasks: [trace].
  std::vector<RunningMean> trace_cost;
  std::vector<std::vector<RunningMean>> trace_retained;  // [trace][budget]
};

class OfflineEvaluation {
 public:
  OfflineEvaluation(TraceReader& reader, const std::vector<const Policy*>& policies,
                    const OfflineOptions& options)
      : reader_(reader), policies_(policies), options_(options), budgets_(options.budgets) {
    budgets_.insert(budgets_.end(), options.curve_budgets.begin(), options.curve_budgets.end());
    for (const Policy* policy : policies) {
      const PolicyInfo& info = policy->info();
      wanted_.recent |= info.recent_queries;
      wanted_.moments |= info.query_moments;
      wanted_.attention_sums |= info.attention_sums;
      reads_queries_ |= info.reads_queries();
    }
  }

  absl::StatusOr<OfflineResults> Run() {
    ASSIGN_OR_RETURN(traces_, ListHeldOut(reader_, options_));
    ASSIGN_OR_RETURN(const std::vector<TraceRecord> all, reader_.ListTraces(""));
    OfflineResults results;
    results.traces = static_cast<int64_t>(all.size());
    for (const TraceRecord& record : all) {
      results.tokens += int64_t{record.prompt_tokens()} + record.continuation_tokens();
    }
    results.held_out_traces = static_cast<int64_t>(traces_.size());

    const ModelInfo& model = traces_.front().record.model();
    kv_heads_ = model.kv_heads();
    heads_ = int64_t{model.layers()} * kv_heads_;
    for (size_t i = 0; i < traces_.size(); ++i) index_[traces_[i].id] = i;
    means_.resize(policies_.size());
    for (PolicyMeans& means : means_) {
      means.cost.resize(heads_);
      means.retained.assign(heads_, std::vector<RunningMean>(budgets_.size()));
      means.trace_cost.resize(traces_.size());
      means.trace_retained.assign(traces_.size(), std::vector<RunningMean>(budgets_.size()));
    }

    int64_t head_bytes = 0;
    int64_t entries = 0;
    for (const HeldOutTrace& trace : traces_) {
      const int64_t query_heads = reads_queries_ ? trace.record.recorded_query_heads() : 0;
      head_bytes += trace.cut * ((int64_t{4} + 2 * query_heads) * model.head_dim() + 4);
      entries += trace.record.entries();
    }
    const int64_t layers =
        std::max<int64_t>(1, options_.resident_bytes / head_bytes / model.kv_heads());
    const int64_t group = layers * model.kv_heads();
    for (int64_t first = 0; first < heads_; first += group) {
      RETURN_IF_ERROR(EvaluateGroup(first, std::min(first + group, heads_)));
    }
    results.bytes_per_token = static_cast<double>(bytes_) / static_cast<double>(entries);
    results.corrupt_blocks = corrupt_blocks_;
    if (means_.empty() || std::all_of(traces_.begin(), traces_.end(),
                                      [](const HeldOutTrace& trace) { return !trace.whole; })) {
      return absl::DataLossError(absl::StrCat("split \"", options_.split, "\": none of ",
                                              traces_.size(), " traces is whole"));
    }
    for (size_t i = 0; i < policies_.size(); ++i) {
      results.policies.emplace_back(policies_[i]->name(), Summary(means_[i]));
    }
    return results;
  }

 private:
  absl::Status EvaluateGroup(int64_t begin, int64_t end) {
    std::vector<HeadId> heads;
    for (int64_t head = begin; head < end; ++head) {
      heads.push_back(HeadId::FromIndex(head, kv_heads_));
    }
    std::vector<TraceHeads> group;
    for (const HeldOutTrace& trace : traces_) {
      group.push_back(EmptyHeads(trace, end - begin, reads_queries_));
    }
    for (int64_t row = 0; row < end - begin; ++row) {
      ASSIGN_OR_RETURN(const TraceReader::ReadResult read,
                       reader_.ReadHead(heads[row], options_.split, [&](HeadBlock block) {
                         const auto found = index_.find(block.key.trace_id);
                         // A trace committed since the listing.
                         if (found == index_.end()) return absl::OkStatus();
                         return AddBlock(traces_[found->second], block, row, group[found->second]);
                       }));
      bytes_ += read.bytes;
      corrupt_blocks_ += read.corrupt_blocks;
    }
    for (size_t i = 0; i < traces_.size(); ++i) {
      for (int64_t filled : group[i].filled) {
        if (filled == traces_[i].cut || !traces_[i].whole) continue;
        LogWarning(absl::StrCat("trace ", TraceIdText(traces_[i].id), ": ", filled, " of ",
                                traces_[i].cut, " entries could be read; it is left out"));
        traces_[i].whole = false;
      }
      if (traces_[i].whole) RETURN_IF_ERROR(EvaluateTrace(i, begin, heads, group[i]));
    }
    return absl::OkStatus();
  }

  absl::Status EvaluateTrace(size_t trace, int64_t first_head, const std::vector<HeadId>& heads,
                             const TraceHeads& entries) {
    PolicyInput input;
    input.heads = heads;
    input.keys = entries.keys.to(at::kFloat);
    input.values = entries.values.to(at::kFloat);
    input.positions = at::arange(traces_[trace].cut, at::kLong);
    input.importance = entries.importance;
    input.sequence_seed = SequenceSeed(traces_[trace].id);
    const ModelInfo& model = traces_[trace].record.model();
    input.layers = model.layers();
    input.rope_frequencies.assign(model.rope_frequencies().begin(), model.rope_frequencies().end());
    if (entries.queries.defined()) {
      input.queries = ObservedIn(entries, input.keys, input.rope_frequencies, wanted_);
    }
    for (size_t i = 0; i < policies_.size(); ++i) {
      ASSIGN_OR_RETURN(const at::Tensor scores, policies_[i]->Score(input));
      ASSIGN_OR_RETURN(const std::vector<std::vector<int64_t>> head_budgets,
                       HeadBudgets(*policies_[i], input, scores));
      absl::StatusOr<RankingMetrics> metrics =
          MeasureRanking(scores, entries.importance, budgets_, head_budgets);
      if (!metrics.ok()) {
        return absl::Status(
            metrics.status().code(),
            absl::StrCat("policy ", policies_[i]->name(), ", trace ",
                         TraceIdText(traces_[trace].id), ": ", metrics.status().message()));
      }
      const auto cost = metrics->cost.accessor<double, 1>();
      const auto retained = metrics->retained.accessor<double, 2>();
      PolicyMeans& means = means_[i];
      for (int64_t head = 0; head < cost.size(0); ++head) {
        means.cost[first_head + head].Add(cost[head]);
        means.trace_cost[trace].Add(cost[head]);
        for (size_t b = 0; b < budgets_.size(); ++b) {
          const double value = retained[head][static_cast<int64_t>(b)];
          means.retained[first_head + head][b].Add(value);
          means.trace_retained[trace][b].Add(value);
        }
      }
    }
    return absl::OkStatus();
  }

  // What each head keeps at each budget; empty where all keep as many.
  absl::StatusOr<std::vector<std::vector<int64_t>>> HeadBudgets(const Policy& policy,
                                                                const PolicyInput& input,
                                                                const at::Tensor& scores) const {
    std::vector<std::vector<int64_t>> result;
    if (policy.info().spread == BudgetSpread::kEven) return result;
    for (const double budget : budgets_) {
      ASSIGN_OR_RETURN(const int64_t mean, BudgetTokens(budget, scores.size(1)));
      ASSIGN_OR_RETURN(std::vector<int64_t> heads,
                       policy.HeadBudgets(input, scores, mean, ProtectedTokens{0, 0}));
      result.push_back(std::move(heads));
    }
    return result;
  }

  TaskOffline TaskSummary(const PolicyMeans& means, const std::vector<size_t>& traces) const {
    const auto mean_of = [&traces](const auto& mean_of_trace, Interval& interval,
                                   const BootstrapOptions& options, int64_t* count) {
      RunningMean mean;
      std::vector<BootstrapItem> items;
      for (const size_t trace : traces) {
        items.push_back({mean_of_trace(trace), 1});
        mean.Add(items.back().value);
      }
      interval = BootstrapInterval(items, options);
      if (count != nullptr) *count = mean.count();
      return mean.mean();
    };
    TaskOffline task;
    task.cost = mean_of([&](size_t trace) { return means.trace_cost[trace].mean(); },
                        task.cost_interval, options_.bootstrap, &task.traces);
    for (size_t b = 0; b < options_.budgets.size(); ++b) {
      const double budget = budgets_[b];
      task.retained[budget] =
          mean_of([&](size_t trace) { return means.trace_retained[trace][b].mean(); },
                  task.retained_interval[budget], options_.bootstrap, nullptr);
    }
    return task;
  }

  PolicyOffline Summary(const PolicyMeans& means) const {
    PolicyOffline summary;
    RunningMean cost;
    for (int64_t head = 0; head < heads_; ++head) {
      HeadOffline row;
      const HeadId id = HeadId::FromIndex(head, kv_heads_);
      row.layer = id.layer;
      row.kv_head = id.kv_head;
      row.cost = means.cost[head].mean();
      row.traces = means.cost[head].count();
      for (size_t b = 0; b < options_.budgets.size(); ++b) {
        row.retained[budgets_[b]] = means.retained[head][b].mean();
      }
      cost.Add(row.cost);
      summary.heads.push_back(std::move(row));
    }
    summary.cost = cost.mean();
    std::vector<size_t> every_trace(traces_.size());
    std::iota(every_trace.begin(), every_trace.end(), 0);
    std::map<std::string, std::vector<size_t>> traces_of_tasks;
    for (const size_t trace : every_trace) {
      traces_of_tasks[traces_[trace].record.task()].push_back(trace);
    }
    const TaskOffline all = TaskSummary(means, every_trace);
    summary.cost_interval = all.cost_interval;
    summary.retained_interval = all.retained_interval;
    for (const auto& [task, traces] : traces_of_tasks) {
      summary.tasks[task] = TaskSummary(means, traces);
    }
    RunningMean trace_cost;
    for (const RunningMean& trace : means.trace_cost) trace_cost.Add(trace.mean());
    summary.cost_standard_error = trace_cost.standard_error();
    for (size_t b = 0; b < budgets_.size(); ++b) {
      RunningMean over_heads;
      RunningMean over_traces;
      for (const auto& head : means.retained) over_heads.Add(head[b].mean());
      for (const auto& trace : means.trace_retained) over_traces.Add(trace[b].mean());
      if (b < options_.budgets.size()) {
        summary.retained[budgets_[b]] = over_heads.mean();
        summary.retained_standard_error[budgets_[b]] = over_traces.standard_error();
      } else {
        summary.curve[budgets_[b]] = over_heads.mean();
      }
    }
    return summary;
  }

  TraceReader& reader_;
  const std::vector<const Policy*>& policies_;
  const OfflineOptions& options_;
  std::vector<double> budgets_;  // tables, then curve
  QueryStatistics::Wanted wanted_;
  bool reads_queries_ = false;
  std::vector<HeldOutTrace> traces_;
  std::map<TraceId, size_t> index_;
  int64_t kv_heads_ = 0;
  int64_t heads_ = 0;
  std::vector<PolicyMeans> means_;
  int64_t bytes_ = 0;
  int64_t corrupt_blocks_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<const Policy*>> OfflinePolicies(
    TraceReader& reader, const std::vector<const Policy*>& policies, const std::string& split) {
  ASSIGN_OR_RETURN(const std::vector<TraceRecord> records, reader.ListTraces(split));
  const bool have_queries =
      std::all_of(records.begin(), records.end(),
                  [](const TraceRecord& record) { return record.recorded_query_heads() > 0; });
  std::vector<const Policy*> able;
  for (const Policy* policy : policies) {
    if (policy->info().replay_attention) {
      LogInfo(absl::StrCat("policy ", policy->name(),
                           " is left out offline: it makes the model repeat the context"));
    } else if (policy->info().reads_queries() && !have_queries) {
      LogInfo(absl::StrCat("policy ", policy->name(), " is left out offline: split \"", split,
                           "\" has traces without queries (kvp collect --record-queries)"));
    } else {
      able.push_back(policy);
    }
  }
  return able;
}

absl::StatusOr<OfflineResults> EvaluateOffline(TraceReader& reader,
                                               const std::vector<const Policy*>& policies,
                                               const OfflineOptions& options) {
  for (const std::vector<double>* budgets : {&options.budgets, &options.curve_budgets}) {
    for (double budget : *budgets) RETURN_IF_ERROR(BudgetTokens(budget, 1).status());
  }
  return OfflineEvaluation(reader, policies, options).Run();
}

}  // namespace kvp

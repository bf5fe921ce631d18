#include "collector/worker.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "collector/trace_sender.h"
#include "util/logging.h"
#include "util/progress.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Ids asked for at once, at least: prompts of so many are tokenised and kept in memory.
constexpr int64_t kIdsAtOnce = 64;
constexpr int64_t kMaxBatch = 4096;

class Worker {
 public:
  Worker(const Decoder& decoder, const ModelInfo& model, const PromptSource& source,
         const WorkerOptions& options, TraceWriter& asking, TraceWriter& sending,
         const std::atomic<bool>& stop, const WorkerMetrics& metrics)
      : decoder_(decoder),
        identity_(IdentityOf(decoder)),
        model_(model),
        source_(source),
        options_(options),
        asking_(asking),
        stop_(stop),
        metrics_(metrics),
        sender_(&sending),
        own_(OwnIndices()),
        progress_("traces", static_cast<int64_t>(own_.size())) {}

  absl::StatusOr<WorkerSummary> Run() {
    absl::Status status = RunAll(own_, std::max(kIdsAtOnce, options_.batch));
    if (status.ok() && options_.finish_others) {
      // What is still missing is asked for at the last moment.
      const std::vector<int64_t> others = OthersIndices();
      progress_.set_total(static_cast<int64_t>(own_.size() + others.size()));
      status = RunAll(others, options_.batch);
    }
    // Also after an error: what was captured is committed, so that it needn't be computed again.
    const absl::Status sent = sender_.Finish();
    if (status.ok()) status = sent;
    summary_.traces = sender_.committed();
    summary_.empty = sender_.committed_empty();
    summary_.elapsed = absl::Now() - start_;
    summary_.bytes = sender_.acknowledged_bytes();
    const double places = static_cast<double>(summary_.entries * decoder_.config().heads());
    if (places > 0) summary_.bytes_per_token_head = static_cast<double>(summary_.bytes) / places;
    if (!status.ok()) metrics_.errors.Add();
    UpdateMetrics();
    progress_.Finish(Done(), Detail());
    RETURN_IF_ERROR(status);
    return summary_;
  }

 private:
  int64_t PromptCount() const {
    return options_.limit > 0 ? std::min(source_.size(), options_.limit) : source_.size();
  }

  std::vector<int64_t> OwnIndices() const {
    std::vector<int64_t> indices;
    for (int64_t i = options_.worker_index; i < PromptCount(); i += options_.worker_count) {
      indices.push_back(i);
    }
    return indices;
  }

  // From the end: a worker that is alive comes from the beginning.
  std::vector<int64_t> OthersIndices() const {
    std::vector<int64_t> indices;
    for (int64_t i = PromptCount() - 1; i >= 0; --i) {
      if (i % options_.worker_count != options_.worker_index) indices.push_back(i);
    }
    return indices;
  }

  absl::Status RunAll(absl::Span<const int64_t> indices, int64_t ids_at_once) {
    const size_t step = static_cast<size_t>(ids_at_once);
    for (size_t begin = 0; begin < indices.size() && !summary_.stopped; begin += step) {
      ASSIGN_OR_RETURN(const std::vector<TokenizedPrompt> prompts,
                       NewPrompts(indices.subspan(begin, step)));
      absl::Span<const TokenizedPrompt> left = prompts;
      while (!left.empty()) {
        if (stop_.load()) {
          summary_.stopped = true;
          return absl::OkStatus();
        }
        const size_t size = std::min<size_t>(left.size(), options_.batch);
        RETURN_IF_ERROR(RunBatch(left.subspan(0, size)));
        left.remove_prefix(size);
      }
      Show();
    }
    return absl::OkStatus();
  }

  absl::Status RunBatch(absl::Span<const TokenizedPrompt> prompts) {
    const absl::Time begin = absl::Now();
    ASSIGN_OR_RETURN(CapturedBatch batch,
                     CaptureBatch(decoder_, model_, prompts, options_.capture));
    const absl::Duration taken = absl::Now() - begin;
    summary_.compute += taken;
    summary_.prefill += batch.prefill;
    summary_.continuation += batch.continuation;
    metrics_.batch_seconds.Observe(absl::ToDoubleSeconds(taken));
    metrics_.prefill_seconds.Add(absl::ToDoubleSeconds(batch.prefill));
    metrics_.continuation_seconds.Add(absl::ToDoubleSeconds(batch.continuation));
    for (size_t i = 0; i < prompts.size(); ++i) {
      RETURN_IF_ERROR(Send(prompts[i], std::move(batch.traces[i])));
    }
    return absl::OkStatus();
  }

  absl::Status Send(const TokenizedPrompt& prompt, CapturedTrace trace) {
    TraceRecord& record = trace.record;
    record.set_split(options_.split);
    record.set_task(TaskOf(prompt));
    if (trace.empty()) {
      LogWarning(absl::StrCat(prompt.origin,
                              ": the model ends the sequence right after the prompt: nothing to "
                              "record"));
      RETURN_IF_ERROR(sender_.Send(std::move(trace)));
      Show();
      return absl::OkStatus();
    }
    summary_.tokens += record.token_ids_size();
    summary_.entries += record.entries();
    metrics_.prompt_tokens.Add(record.prompt_tokens());
    metrics_.continuation_tokens.Add(record.continuation_tokens());
    metrics_.entries.Add(record.entries());
    RETURN_IF_ERROR(sender_.Send(std::move(trace)));
    Show();
    return absl::OkStatus();
  }

  // Those of the prompts that have no committed trace yet, each once.
  absl::StatusOr<std::vector<TokenizedPrompt>> NewPrompts(absl::Span<const int64_t> indices) {
    std::vector<TokenizedPrompt> prompts;
    std::vector<TraceId> ids;
    for (const int64_t index : indices) {
      ASSIGN_OR_RETURN(TokenizedPrompt prompt, source_.Get(index));
      RETURN_IF_ERROR(CheckPrompt(decoder_, prompt));
      const TraceId id = IdOfTrace(identity_, prompt, options_.capture);
      if (!seen_.insert(id).second) continue;
      ids.push_back(id);
      prompts.push_back(std::move(prompt));
    }
    if (!ids.empty()) {
      ASSIGN_OR_RETURN(const std::vector<TraceId> committed, asking_.Committed(ids));
      const std::set<TraceId> there(committed.begin(), committed.end());
      size_t kept = 0;
      for (size_t i = 0; i < ids.size(); ++i) {
        if (there.count(ids[i]) == 0) std::swap(prompts[kept++], prompts[i]);
      }
      prompts.resize(kept);
    }
    const int64_t skipped = static_cast<int64_t>(indices.size() - prompts.size());
    summary_.skipped += skipped;
    metrics_.skipped.Add(static_cast<double>(skipped));
    return prompts;
  }

  // Prompts that needn't be run any more.
  int64_t Done() const {
    return sender_.committed() + sender_.committed_empty() + summary_.skipped;
  }

  const std::string& TaskOf(const TokenizedPrompt& prompt) const {
    if (!options_.task.empty()) return options_.task;
    return prompt.task.empty() ? source_.task() : prompt.task;
  }

  double TokensPerSecond() const {
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start_);
    return static_cast<double>(summary_.tokens) / std::max(seconds, 1e-9);
  }

  void Show() {
    UpdateMetrics();
    progress_.Update(Done(), Detail());
  }

  std::string Detail() const {
    return absl::StrFormat("%.0f tokens/s, %d queued, %.1f MB sent, %s", TokensPerSecond(),
                           sender_.waiting(),
                           static_cast<double>(sender_.acknowledged_bytes()) / 1e6,
                           options_.task.empty() ? source_.task() : options_.task);
  }

  void UpdateMetrics() {
    const int64_t committed = sender_.committed();
    const int64_t empty = sender_.committed_empty();
    const int64_t bytes = sender_.acknowledged_bytes();
    metrics_.traces.Add(static_cast<double>(committed - counted_traces_));
    metrics_.empty.Add(static_cast<double>(empty - counted_empty_));
    metrics_.bytes.Add(static_cast<double>(bytes - counted_bytes_));
    counted_traces_ = committed;
    counted_empty_ = empty;
    counted_bytes_ = bytes;
    metrics_.queue_depth.Set(static_cast<double>(sender_.waiting()));
    metrics_.tokens_per_second.Set(TokensPerSecond());
  }

  const Decoder& decoder_;
  const DecoderIdentity identity_;
  const ModelInfo& model_;
  const PromptSource& source_;
  const WorkerOptions& options_;
  TraceWriter& asking_;
  const std::atomic<bool>& stop_;
  const WorkerMetrics& metrics_;
  const absl::Time start_ = absl::Now();
  TraceSender sender_;
  const std::vector<int64_t> own_;
  Progress progress_;
  std::set<TraceId> seen_;      // of this run
  int64_t counted_traces_ = 0;  // in the metrics
  int64_t counted_empty_ = 0;
  int64_t counted_bytes_ = 0;
  WorkerSummary summary_;
};

}  // namespace

absl::Status WorkerOptions::Validate() const {
  RETURN_IF_ERROR(capture.Validate());
  if (split != "train" && split != "held_out") {
    return absl::InvalidArgumentError(
        absl::StrCat("split=\"", split, "\": it must be train or held_out"));
  }
  if (worker_count < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker_count=", worker_count, ": it must be at least 1"));
  }
  if (worker_index < 0 || worker_index >= worker_count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "worker_index=", worker_index, ": it must be in [0, worker_count=", worker_count, ")"));
  }
  if (limit < 0) {
    return absl::InvalidArgumentError(absl::StrCat("limit=", limit, ": it must be 0 or more"));
  }
  if (batch < 1 || batch > kMaxBatch) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch=", batch, ": it must be in [1, ", kMaxBatch, "]"));
  }
  return absl::OkStatus();
}

WorkerMetrics WorkerMetrics::In(Metrics& metrics) {
  const auto counter = [&](const std::string& name, const std::string& help) {
    return metrics.AddCounter("kvp_collector_" + name, help);
  };
  const auto gauge = [&](const std::string& name, const std::string& help) {
    return metrics.AddGauge("kvp_collector_" + name, help);
  };
  WorkerMetrics result;
  result.traces = counter("traces_total", "Traces committed on every shard.");
  result.skipped =
      counter("skipped_total", "Prompts whose trace was committed before, or came before.");
  result.empty = counter("empty_total", "Prompts after which the model ended the sequence.");
  result.errors = counter("errors_total", "Errors that ended the run.");
  result.prompt_tokens = counter("prompt_tokens_total", "Tokens of prompts run.");
  result.continuation_tokens =
      counter("continuation_tokens_total", "Tokens generated or forced after prompts.");
  result.entries = counter("entries_total", "Tokens whose K, V and labels were recorded.");
  result.bytes = counter("sent_bytes_total", "Encoded bytes that the shards acknowledged.");
  result.prefill_seconds =
      counter("prefill_seconds_total", "Time in prompts and forced continuations.");
  result.continuation_seconds =
      counter("continuation_seconds_total", "Time in generated continuations.");
  result.batch_seconds = metrics.AddHistogram(
      "kvp_collector_batch_seconds", "Time that prompts run together take, capture included.",
      {0.03, 0.1, 0.3, 1, 3, 10, 30, 100});
  result.queue_depth = gauge("queue_depth", "Traces computed that aren't committed yet.");
  result.tokens_per_second =
      gauge("tokens_per_second", "Tokens of prompts and continuations, mean since the start.");
  return result;
}

absl::StatusOr<WorkerSummary> RunWorker(const Decoder& decoder, const ModelInfo& model,
                                        const PromptSource& source, const WorkerOptions& options,
                                        TraceWriter& asking, TraceWriter& sending,
                                        const std::atomic<bool>& stop,
                                        const WorkerMetrics& metrics) {
  RETURN_IF_ERROR(options.Validate());
  return Worker(decoder, model, source, options, asking, sending, stop, metrics).Run();
}

}  // namespace kvp

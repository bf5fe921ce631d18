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

// Ids asked for at once: prompts of so many are tokenised and kept in memory.
constexpr int64_t kBatch = 64;

class Worker {
 public:
  Worker(const Decoder& decoder, const ModelInfo& model, const PromptSource& source,
         const WorkerOptions& options, TraceWriter& asking, TraceWriter& sending,
         const std::atomic<bool>& stop)
      : decoder_(decoder),
        model_(model),
        source_(source),
        options_(options),
        asking_(asking),
        sending_(sending),
        stop_(stop) {}

  absl::StatusOr<WorkerSummary> Run() {
    const std::vector<int64_t> indices = Indices();
    Progress progress("traces", static_cast<int64_t>(indices.size()));
    TraceSender sender(&sending_);
    absl::Status status;
    for (size_t begin = 0; begin < indices.size() && status.ok() && !summary_.stopped;
         begin += kBatch) {
      const size_t size = std::min<size_t>(kBatch, indices.size() - begin);
      status = RunBatch(absl::MakeConstSpan(indices).subspan(begin, size), sender, progress);
    }
    // Also after an error: what was captured is committed, so that it needn't be computed again.
    absl::Status sent = sender.Finish();
    summary_.traces = sender.committed();
    summary_.elapsed = absl::Now() - start_;
    summary_.bytes = sender.acknowledged_bytes();
    const double places = static_cast<double>(summary_.entries * decoder_.config().heads());
    if (places > 0) summary_.bytes_per_token_head = static_cast<double>(summary_.bytes) / places;
    progress.Finish(Done(sender), Detail(sender));
    RETURN_IF_ERROR(status);
    RETURN_IF_ERROR(sent);
    return summary_;
  }

 private:
  struct Item {
    TokenizedPrompt prompt;
    TraceId id;
  };

  std::vector<int64_t> Indices() const {
    int64_t size = source_.size();
    if (options_.limit > 0) size = std::min(size, options_.limit);
    std::vector<int64_t> indices;
    for (int64_t i = options_.worker_index; i < size; i += options_.worker_count) {
      indices.push_back(i);
    }
    return indices;
  }

  absl::Status RunBatch(absl::Span<const int64_t> indices, TraceSender& sender,
                        Progress& progress) {
    ASSIGN_OR_RETURN(const std::vector<Item> items, NewItems(indices));
    for (const Item& item : items) {
      if (stop_.load()) {
        summary_.stopped = true;
        return absl::OkStatus();
      }
      const absl::Time begin = absl::Now();
      ASSIGN_OR_RETURN(CapturedTrace trace,
                       Capture(decoder_, model_, item.prompt, options_.capture));
      summary_.compute += absl::Now() - begin;
      if (!trace.has_future) {
        ++summary_.empty;
        LogWarning(absl::StrCat(item.prompt.origin,
                                ": the model ends the sequence right after the prompt: no trace"));
        continue;
      }
      trace.record.set_split(options_.split);
      trace.record.set_task(TaskOf(item.prompt));
      summary_.tokens += trace.record.token_ids_size();
      summary_.entries += trace.record.entries();
      RETURN_IF_ERROR(sender.Send(std::move(trace)));
      progress.Update(Done(sender), Detail(sender));
    }
    progress.Update(Done(sender), Detail(sender));
    return absl::OkStatus();
  }

  // The batch's prompts that have no committed trace yet, each once.
  absl::StatusOr<std::vector<Item>> NewItems(absl::Span<const int64_t> indices) {
    std::vector<Item> items;
    std::vector<TraceId> ids;
    for (const int64_t index : indices) {
      ASSIGN_OR_RETURN(TokenizedPrompt prompt, source_.Get(index));
      RETURN_IF_ERROR(CheckPrompt(decoder_.config(), prompt));
      const TraceId id = IdOfTrace(decoder_.fingerprint(), prompt, options_.capture);
      if (!seen_.insert(id).second) {
        ++summary_.skipped;
        continue;
      }
      ids.push_back(id);
      items.push_back({std::move(prompt), id});
    }
    if (items.empty()) return items;
    ASSIGN_OR_RETURN(const std::vector<TraceId> committed, asking_.Committed(ids));
    const std::set<TraceId> there(committed.begin(), committed.end());
    const auto old = std::remove_if(items.begin(), items.end(), [&there](const Item& item) {
      return there.count(item.id) > 0;
    });
    summary_.skipped += items.end() - old;
    items.erase(old, items.end());
    return items;
  }

  const std::string& TaskOf(const TokenizedPrompt& prompt) const {
    if (!options_.task.empty()) return options_.task;
    return prompt.task.empty() ? source_.task() : prompt.task;
  }

  int64_t Done(const TraceSender& sender) const {
    return sender.committed() + summary_.skipped + summary_.empty;
  }

  std::string Detail(const TraceSender& sender) const {
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start_);
    return absl::StrFormat("%.0f tokens/s, %.1f MB sent, %s",
                           static_cast<double>(summary_.tokens) / std::max(seconds, 1e-9),
                           static_cast<double>(sender.acknowledged_bytes()) / 1e6,
                           options_.task.empty() ? source_.task() : options_.task);
  }

  const Decoder& decoder_;
  const ModelInfo& model_;
  const PromptSource& source_;
  const WorkerOptions& options_;
  TraceWriter& asking_;
  TraceWriter& sending_;
  const std::atomic<bool>& stop_;
  const absl::Time start_ = absl::Now();
  std::set<TraceId> seen_;  // of this run
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
  return absl::OkStatus();
}

absl::StatusOr<WorkerSummary> RunWorker(const Decoder& decoder, const ModelInfo& model,
                                        const PromptSource& source, const WorkerOptions& options,
                                        TraceWriter& asking, TraceWriter& sending,
                                        const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(options.Validate());
  return Worker(decoder, model, source, options, asking, sending, stop).Run();
}

}  // namespace kvp

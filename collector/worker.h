// The collector's loop: prompts in, committed traces out.

#ifndef KVP_COLLECTOR_WORKER_H_
#define KVP_COLLECTOR_WORKER_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collector/capture.h"
#include "collector/prompt_source.h"
#include "llm/decoder.h"
#include "proto/trace.pb.h"
#include "storage/trace_writer.h"
#include "util/metrics.h"

namespace kvp {

struct WorkerOptions {
  CaptureOptions capture;
  // "train" or "held_out".
  std::string split = "train";
  // What the records say the prompts were. Empty: each prompt's own task, or else the source's.
  std::string task;
  // This worker does the prompts index, index + count, index + 2 count, … of the source.
  int64_t worker_index = 0;
  int64_t worker_count = 1;
  // Only the source's first `limit` prompts are anyone's; 0: all.
  int64_t limit = 0;
  // After its own, the prompts of the other workers that aren't committed by then, for when one of
  // them has died. While it hasn't, the last traces may be computed twice; they are stored once.
  bool finish_others = false;
  // Prompts that are run together.
  int64_t batch = 1;

  // INVALID_ARGUMENT naming the field and its value.
  absl::Status Validate() const;
};

// What a worker counts while it runs. Made by default it counts nothing.
struct WorkerMetrics {
  // Adds kvp_collector_…, documented by their help texts, to `metrics`.
  static WorkerMetrics In(Metrics& metrics);

  Counter traces;
  Counter skipped;
  Counter empty;
  Counter errors;
  Counter prompt_tokens;
  Counter continuation_tokens;
  Counter entries;
  Counter bytes;
  Counter prefill_seconds;
  Counter continuation_seconds;
  Histogram batch_seconds;
  Gauge queue_depth;
  Gauge tokens_per_second;
};

struct WorkerSummary {
  int64_t traces = 0;   // committed by this worker
  int64_t skipped = 0;  // committed before, or repeated in the source
  int64_t empty = 0;    // committed without a trace: the model ended the sequence at once
  int64_t tokens = 0;   // of the traces: prompts and continuations
  int64_t entries = 0;  // of the traces: tokens whose K and V are recorded
  int64_t bytes = 0;    // encoded, acknowledged by the shards
  double bytes_per_token_head = 0;  // bytes / (entries * heads)
  absl::Duration elapsed;
  absl::Duration compute;  // of it, in captures; the rest waited for the shards or the prompts
  absl::Duration prefill;  // of `compute`, in prompts with answers, and in generated continuations
  absl::Duration continuation;
  bool stopped = false;  // by `stop`, before the last prompt
};

// Runs all of this worker's prompts. Which traces are there already is asked in batches through
// `asking`, before any compute is spent on them; `sending` carries new ones, on a thread of its
// own, while the next prompt is computed. They must be different writers, and are used by nobody
// else meanwhile.
//
// Where `stop` becomes true, the traces in hand are finished and committed, and the summary comes
// back. On the first error no new trace is begun, those in hand are committed if they can be, and
// the error is returned; running again resumes. Logs progress.
absl::StatusOr<WorkerSummary> RunWorker(const Decoder& decoder, const ModelInfo& model,
                                        const PromptSource& source, const WorkerOptions& options,
                                        TraceWriter& asking, TraceWriter& sending,
                                        const std::atomic<bool>& stop,
                                        const WorkerMetrics& metrics = {});

}  // namespace kvp

#endif  // KVP_COLLECTOR_WORKER_H_

// One evaluation from the model directory to the results: loads, runs the offline part and the part
// in the model.

#ifndef KVP_EVAL_EVALUATION_H_
#define KVP_EVAL_EVALUATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "eval/in_model.h"
#include "eval/prompts.h"
#include "eval/results.h"
#include "llm/decoder.h"
#include "llm/embedded/retrieval_task.h"
#include "util/tls_files.h"

namespace kvp {

struct EvaluationOptions {
  std::string model_directory;
  Decoder::Options decoder;
  // Where the held-out traces are; the offline part is left out where it is empty.
  std::vector<std::string> shards;
  TlsFiles tls;
  // How long a shard may be unreachable.
  absl::Duration connect_deadline = absl::Seconds(30);
  // agents.safetensors and q_filters.safetensors, without which "kvp" and "q_filter" can't be
  // evaluated.
  std::string agents_path;
  std::string q_filters_path;
  // Text that the agents weren't trained on, for fillers and perplexity; the part in the model is
  // left out where it is empty.
  std::string text_path;
  // All that can be made where it is empty. Offline, those that need the model, or queries that
  // weren't recorded, are left out, and that is logged.
  std::vector<std::string> policies;
  std::vector<double> budgets = {0.5, 0.25, 0.125, 0.0625};
  int64_t prompts = 60;
  RetrievalOptions retrieval;
  TextWindowOptions windows;
  uint64_t seed = 1;
  int64_t threads = 1;
  int64_t timed_sequences = 5;
  // The trainer's JSON results, passed on into "timing"; may be empty.
  std::string training_json_path;

  // INVALID_ARGUMENT naming the flag and its value.
  absl::Status Validate() const;
};

// Errors of loading, of the shards and of both parts. Shows progress on stderr.
absl::StatusOr<Results> RunEvaluation(const EvaluationOptions& options);

// A few lines for a terminal: accuracy, retained mass and perplexity by policy and budget.
std::string SummaryText(const Results& results);

}  // namespace kvp

#endif  // KVP_EVAL_EVALUATION_H_

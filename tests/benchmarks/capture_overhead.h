// What collecting traces costs beside running the model over the same prompts.

#ifndef KVP_TESTS_BENCHMARKS_CAPTURE_OVERHEAD_H_
#define KVP_TESTS_BENCHMARKS_CAPTURE_OVERHEAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collector/prompt_source.h"
#include "collector/worker.h"
#include "llm/decoder.h"
#include "proto/trace.pb.h"
#include "tests/benchmarks/store.h"

namespace kvp {

// Prompts made beforehand.
class FixedPrompts : public PromptSource {
 public:
  explicit FixedPrompts(std::vector<TokenizedPrompt> prompts) : prompts_(std::move(prompts)) {}

  int64_t size() const override { return static_cast<int64_t>(prompts_.size()); }
  absl::StatusOr<TokenizedPrompt> Get(int64_t index) const override { return prompts_[index]; }
  const std::string& task() const override { return task_; }

 private:
  const std::vector<TokenizedPrompt> prompts_;
  const std::string task_ = "bench";
};

// All prompts of `source`.
absl::StatusOr<std::vector<TokenizedPrompt>> AllPrompts(const PromptSource& source);

// Runs a collector worker over `source` into `store`, to the last commit.
absl::StatusOr<WorkerSummary> Collect(const Decoder& decoder, const ModelInfo& model,
                                      const PromptSource& source, const WorkerOptions& options,
                                      const BenchStore& store);

struct OverheadResult {
  double ratio = 0;  // with / without, the median over the rounds
  // The same of the computing thread's CPU time, which other processes disturb less; sending has a
  // thread of its own.
  double cpu_ratio = 0;
  // Of the fastest rounds: what is left where other processes disturb as little as can be.
  double fastest_ratio = 0;
  double seconds_with = 0;  // of a round, medians
  double seconds_without = 0;
  double bytes_per_token_head = 0;  // as sent
  std::vector<double> ratios;       // of each round
};

// Runs the prompts `rounds` times plainly and `rounds` times with capture, labels and sending to a
// fresh store, in turn. A first round isn't counted.
absl::StatusOr<OverheadResult> MeasureOverhead(const Decoder& decoder, const ModelInfo& model,
                                               const std::vector<TokenizedPrompt>& prompts,
                                               const CaptureOptions& options, int64_t rounds);

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_CAPTURE_OVERHEAD_H_

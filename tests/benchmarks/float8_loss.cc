#include "tests/benchmarks/float8_loss.h"

#include <atomic>
#include <memory>
#include <numeric>

#include "collector/worker.h"
#include "storage/trace_reader.h"
#include "tests/benchmarks/capture_overhead.h"
#include "tests/benchmarks/store.h"
#include "trainer/communicator.h"
#include "trainer/training_options.h"
#include "trainer/training_run.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kWidth = 32;
constexpr int64_t kSampledEntries = 256;

struct Outcome {
  double cost = 0;
  double bytes_per_token_head = 0;
};

absl::StatusOr<double> CostOfAgents(const BenchStore& store, int64_t steps) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceReader> reader, store.Reader());
  const std::unique_ptr<Communicator> alone = NewSingleCommunicator();
  TrainingOptions options;
  options.group.gradient.shape.width = kWidth;
  options.group.gradient.sampled_entries = kSampledEntries;
  options.group.gradient.seed = 1;
  options.group.optimizer.steps = steps;
  options.eval_every = steps;
  options.compare_heuristics = false;
  const std::atomic<bool> stop{false};
  ASSIGN_OR_RETURN(const TrainingResult result, Train(options, *reader, *alone, stop));
  return std::accumulate(result.held_out_cost.begin(), result.held_out_cost.end(), 0.0) /
         static_cast<double>(result.held_out_cost.size());
}

absl::StatusOr<Outcome> OutcomeOf(const Decoder& decoder, const ModelInfo& model,
                                  const PromptSource& train, const PromptSource& held_out,
                                  int64_t steps, KvDtype kv_dtype) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BenchStore> store, BenchStore::Start());
  WorkerOptions options;
  options.task = "bench";
  options.capture.kv_dtype = kv_dtype;
  ASSIGN_OR_RETURN(const WorkerSummary summary, Collect(decoder, model, train, options, *store));
  options.split = "held_out";
  RETURN_IF_ERROR(Collect(decoder, model, held_out, options, *store).status());
  Outcome outcome;
  outcome.bytes_per_token_head = summary.bytes_per_token_head;
  ASSIGN_OR_RETURN(outcome.cost, CostOfAgents(*store, steps));
  return outcome;
}

}  // namespace

absl::StatusOr<Float8Loss> MeasureFloat8Loss(const Decoder& decoder, const ModelInfo& model,
                                             const PromptSource& train,
                                             const PromptSource& held_out, int64_t steps) {
  ASSIGN_OR_RETURN(const Outcome bf16,
                   OutcomeOf(decoder, model, train, held_out, steps, KvDtype::kBf16));
  ASSIGN_OR_RETURN(const Outcome float8,
                   OutcomeOf(decoder, model, train, held_out, steps, KvDtype::kFloat8));
  return Float8Loss{bf16.cost, float8.cost, bf16.bytes_per_token_head, float8.bytes_per_token_head};
}

}  // namespace kvp

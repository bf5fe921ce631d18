#include "tests/benchmarks/capture_overhead.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "llm/kv_cache.h"
#include "llm/sampling.h"
#include "util/median.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

double ThreadCpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// What a user without a collector would do: the prompt with its answer, or then a generated one.
absl::Status RunPlainly(const Decoder& decoder, const TokenizedPrompt& prompt,
                        const CaptureOptions& options) {
  KvCache cache = decoder.NewCache();
  Decoder::ForwardOptions forward;
  forward.chunk_tokens = options.chunk_tokens;
  const bool forced = !prompt.continuation.empty();
  forward.logits = forced ? Decoder::Logits::kNone : Decoder::Logits::kLast;
  std::vector<int32_t> tokens = prompt.prompt;
  tokens.insert(tokens.end(), prompt.continuation.begin(), prompt.continuation.end());
  ASSIGN_OR_RETURN(const at::Tensor logits, decoder.Forward(tokens, cache, forward));
  if (forced) return absl::OkStatus();
  const int64_t room = decoder.max_model_len() - static_cast<int64_t>(prompt.prompt.size());
  return Generate(decoder, cache, logits[0], std::min(room, options.max_new_tokens),
                  options.sampling, forward)
      .status();
}

}  // namespace

absl::StatusOr<std::vector<TokenizedPrompt>> AllPrompts(const PromptSource& source) {
  std::vector<TokenizedPrompt> prompts;
  for (int64_t i = 0; i < source.size(); ++i) {
    ASSIGN_OR_RETURN(TokenizedPrompt prompt, source.Get(i));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<WorkerSummary> Collect(const Decoder& decoder, const ModelInfo& model,
                                      const PromptSource& source, const WorkerOptions& options,
                                      const BenchStore& store) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> asking, store.Writer(model));
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> sending, store.Writer(model));
  const std::atomic<bool> stop{false};
  return RunWorker(decoder, model, source, options, *asking, *sending, stop);
}

absl::StatusOr<OverheadResult> MeasureOverhead(const Decoder& decoder, const ModelInfo& model,
                                               const std::vector<TokenizedPrompt>& prompts,
                                               const CaptureOptions& options, int64_t rounds) {
  WorkerOptions worker;
  worker.capture = options;
  worker.task = "bench";
  const FixedPrompts source(prompts);
  OverheadResult result;
  std::vector<double> with, without, cpu_ratios;
  double cpu_with = 0;
  double cpu_without = 0;
  const auto run_plainly = [&]() -> absl::Status {
    const absl::Time begin = absl::Now();
    const double cpu_begin = ThreadCpuSeconds();
    for (const TokenizedPrompt& prompt : prompts) {
      RETURN_IF_ERROR(RunPlainly(decoder, prompt, options));
    }
    without.push_back(absl::ToDoubleSeconds(absl::Now() - begin));
    cpu_without = ThreadCpuSeconds() - cpu_begin;
    return absl::OkStatus();
  };
  const auto collect = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::unique_ptr<BenchStore> store, BenchStore::Start());
    const double cpu_begin = ThreadCpuSeconds();
    ASSIGN_OR_RETURN(const WorkerSummary summary, Collect(decoder, model, source, worker, *store));
    cpu_with = ThreadCpuSeconds() - cpu_begin;
    with.push_back(absl::ToDoubleSeconds(summary.elapsed));
    result.bytes_per_token_head = summary.bytes_per_token_head;
    return absl::OkStatus();
  };
  for (int64_t round = 0; round <= rounds; ++round) {
    // Whichever comes second finds warmer caches.
    if (round % 2 == 0) RETURN_IF_ERROR(run_plainly());
    RETURN_IF_ERROR(collect());
    if (round % 2 == 1) RETURN_IF_ERROR(run_plainly());
    if (round == 0) {
      with.clear();
      without.clear();
      continue;
    }
    result.ratios.push_back(with.back() / without.back());
    cpu_ratios.push_back(cpu_with / cpu_without);
  }
  result.ratio = Median(result.ratios);
  result.cpu_ratio = Median(cpu_ratios);
  result.fastest_ratio = *std::min_element(with.begin(), with.end()) /
                         *std::min_element(without.begin(), without.end());
  result.seconds_with = Median(with);
  result.seconds_without = Median(without);
  return result;
}

}  // namespace kvp

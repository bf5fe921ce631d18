#include "eval/in_model.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <optional>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/log_softmax.h"
#include "ATen/ops/tensor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "eval/compression.h"
#include "eval/context_watch.h"
#include "eval/parallel.h"
#include "eval/statistics.h"
#include "llm/importance_observer.h"
#include "util/math_threads.h"
#include "util/median.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// A prompt or a window: what is compressed, what follows, and which of the following tokens count.
struct Sequence {
  std::vector<int32_t> context;
  std::vector<int32_t> continuation;
  std::vector<int64_t> target_rows;    // rows of the continuation's logits
  std::vector<int64_t> target_tokens;  // the right token of each
  uint64_t seed = 0;
  bool is_text = false;
  std::string task;
};

Sequence SequenceOf(const EvaluationPrompt& prompt) {
  Sequence sequence;
  sequence.context = prompt.context;
  sequence.continuation = prompt.Continuation();
  int64_t row = 0;
  for (const EvaluationPrompt::Question& question : prompt.questions) {
    row += static_cast<int64_t>(question.tokens.size());
    sequence.target_rows.push_back(row - 1);
    sequence.target_tokens.push_back(question.answer);
    ++row;
  }
  sequence.seed = prompt.sequence_seed;
  sequence.task = prompt.task;
  return sequence;
}

Sequence SequenceOf(const TextWindow& window) {
  Sequence sequence;
  sequence.context = window.context;
  sequence.continuation = window.continuation;
  for (size_t i = 1; i < window.continuation.size(); ++i) {
    sequence.target_rows.push_back(static_cast<int64_t>(i) - 1);
    sequence.target_tokens.push_back(window.continuation[i]);
  }
  sequence.seed = window.sequence_seed;
  sequence.is_text = true;
  return sequence;
}

// What one sequence gave with one cache.
struct Outcome {
  int64_t correct = 0;
  double nats = 0;  // summed over the targets
  double cache_bytes = 0;
};

// The whole cache, then every policy's budgets.
struct SequenceOutcomes {
  Outcome full;
  std::vector<std::vector<Outcome>> compressed;  // [policy][budget]
};

struct Costs {
  std::vector<double> prefill_ms;
  std::vector<double> full_decode_ms;
  std::vector<std::vector<double>> score_ms;                 // [policy]
  std::vector<std::vector<std::vector<double>>> compact_ms;  // [policy][budget]
  std::vector<std::vector<std::vector<double>>> decode_ms;   // [policy][budget]
};

class Stopwatch {
 public:
  double Milliseconds() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin_ = Clock::now();
};

// An accelerator computes behind the program's back until a value is asked for.
void WaitFor(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) tensor.flatten()[0].item();
}

absl::Status Annotate(const absl::Status& status, absl::string_view what) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(what, ": ", status.message()));
}

class InModelEvaluation {
 public:
  InModelEvaluation(const Decoder& decoder, const std::vector<const Policy*>& policies,
                    const InModelOptions& options)
      : decoder_(decoder), policies_(policies), options_(options) {}

  absl::StatusOr<SequenceOutcomes> Run(const Sequence& sequence) const {
    const at::NoGradGuard no_gradients;
    KvCache cache = decoder_.NewCache();
    ContextWatch watch(decoder_, policies_, options_.replay_prompt);
    RETURN_IF_ERROR(Prefill(sequence, watch.observer(), cache));
    SequenceOutcomes outcomes;
    at::Tensor importance;
    {
      KvCache whole = cache;
      outcomes.full.cache_bytes = static_cast<double>(whole.allocated_bytes());
      ASSIGN_OR_RETURN(importance, AnswerObserved(sequence, whole, outcomes.full));
    }
    ASSIGN_OR_RETURN(PolicyInput input, watch.Input(sequence.context, cache, sequence.seed));
    input.importance = importance;
    for (const Policy* policy : policies_) {
      absl::StatusOr<at::Tensor> scores = policy->Score(input);
      if (!scores.ok()) return Annotate(scores.status(), absl::StrCat("policy ", policy->name()));
      outcomes.compressed.emplace_back();
      for (double budget : options_.budgets) {
        KvCache compressed = cache;
        RETURN_IF_ERROR(Annotate(
            CompressCache(*policy, input, *scores, budget, options_.protected_tokens, compressed),
            absl::StrCat("policy ", policy->name(), ", budget ", budget)));
        Outcome outcome;
        outcome.cache_bytes = static_cast<double>(compressed.allocated_bytes());
        RETURN_IF_ERROR(Answer(sequence, nullptr, compressed, outcome));
        outcomes.compressed.back().push_back(outcome);
      }
    }
    return outcomes;
  }

  // Adds one measurement of everything to `costs`.
  absl::Status Time(const Sequence& sequence, Costs& costs) const {
    const at::NoGradGuard no_gradients;
    KvCache cache = decoder_.NewCache();
    const Stopwatch prefill;
    RETURN_IF_ERROR(Prefill(sequence, nullptr, cache));
    WaitFor(cache.keys(cache.layers() - 1, 0));
    costs.prefill_ms.push_back(prefill.Milliseconds());
    ASSIGN_OR_RETURN(const Observation observation,
                     Observe(sequence, costs.prefill_ms.back(), cache));

    at::Tensor importance;
    {
      KvCache whole = cache;
      Outcome ignored;
      ASSIGN_OR_RETURN(importance, AnswerObserved(sequence, whole, ignored));
    }
    {
      KvCache whole = cache;
      ASSIGN_OR_RETURN(const double decode_ms, DecodeMs(sequence, whole));
      costs.full_decode_ms.push_back(decode_ms);
    }
    for (size_t i = 0; i < policies_.size(); ++i) {
      const Stopwatch scoring;
      ASSIGN_OR_RETURN(PolicyInput input, InputOfCache(cache, sequence.seed));
      input.importance = importance;
      input.rope_frequencies = observation.input.rope_frequencies;
      input.queries = observation.input.queries;
      input.replay_attention = observation.input.replay_attention;
      ASSIGN_OR_RETURN(const at::Tensor scores, policies_[i]->Score(input));
      WaitFor(scores);
      const PolicyInfo& info = policies_[i]->info();
      costs.score_ms[i].push_back(scoring.Milliseconds() +
                                  (info.reads_queries() ? observation.watching_ms : 0) +
                                  (info.replay_attention ? observation.replay_ms : 0));
      for (size_t b = 0; b < options_.budgets.size(); ++b) {
        KvCache compressed = cache;
        const Stopwatch compaction;
        RETURN_IF_ERROR(CompressCache(*policies_[i], input, scores, options_.budgets[b],
                                      options_.protected_tokens, compressed));
        WaitFor(compressed.values(cache.layers() - 1, 0));
        costs.compact_ms[i][b].push_back(compaction.Milliseconds());
        ASSIGN_OR_RETURN(const double decode_ms, DecodeMs(sequence, compressed));
        costs.decode_ms[i][b].push_back(decode_ms);
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Prefill(const Sequence& sequence, AttentionObserver* observer,
                       KvCache& cache) const {
    Decoder::ForwardOptions forward;
    forward.logits = Decoder::Logits::kNone;
    forward.observer = observer;
    return decoder_.Forward(sequence.context, cache, forward).status();
  }

  // What policies need beside the cache, and what it took to get it.
  struct Observation {
    PolicyInput input;
    double watching_ms = 0;  // by how much watching it slowed the prefill down
    double replay_ms = 0;    // of the second pass
  };

  // `cache` holds the context, whose prefill took `prefill_ms` unwatched.
  absl::StatusOr<Observation> Observe(const Sequence& sequence, double prefill_ms,
                                      const KvCache& cache) const {
    Observation observation;
    ContextWatch watch(decoder_, policies_, options_.replay_prompt);
    if (watch.observer() != nullptr) {
      KvCache watched = decoder_.NewCache();
      const Stopwatch prefill;
      RETURN_IF_ERROR(Prefill(sequence, watch.observer(), watched));
      WaitFor(watched.keys(watched.layers() - 1, 0));
      observation.watching_ms = std::max(0.0, prefill.Milliseconds() - prefill_ms);
    }
    const Stopwatch replay;
    ASSIGN_OR_RETURN(observation.input, watch.Input(sequence.context, cache, sequence.seed));
    const at::Tensor& last = observation.input.replay_attention;
    WaitFor(last.defined() ? last : observation.input.keys);
    observation.replay_ms = replay.Milliseconds();
    return observation;
  }

  // Runs the continuation behind `cache` and adds what the logits say of the targets.
  absl::Status Answer(const Sequence& sequence, AttentionObserver* observer, KvCache& cache,
                      Outcome& outcome) const {
    Decoder::ForwardOptions forward;
    forward.logits = Decoder::Logits::kAll;
    forward.observer = observer;
    ASSIGN_OR_RETURN(at::Tensor logits, decoder_.Forward(sequence.continuation, cache, forward));
    logits = logits.cpu().index_select(0, at::tensor(sequence.target_rows, at::kLong));
    const at::Tensor right = at::tensor(sequence.target_tokens, at::kLong);
    outcome.correct = logits.argmax(1).eq(right).sum().item<int64_t>();
    outcome.nats =
        -at::log_softmax(logits, 1).gather(1, right.unsqueeze(1)).sum(at::kDouble).item<double>();
    return absl::OkStatus();
  }

  // The same; returns what the context's entries were worth to it: fp32 [layers * kv_heads,
  // context].
  absl::StatusOr<at::Tensor> AnswerObserved(const Sequence& sequence, KvCache& cache,
                                            Outcome& outcome) const {
    ASSIGN_OR_RETURN(const std::unique_ptr<ImportanceObserver> observer,
                     ImportanceObserver::Create(decoder_.config(),
                                                {static_cast<int64_t>(sequence.context.size())}));
    RETURN_IF_ERROR(Answer(sequence, observer.get(), cache, outcome));
    ASSIGN_OR_RETURN(std::vector<at::Tensor> layers, observer->Finish(cache));
    for (at::Tensor& layer : layers) layer = layer.select(1, 0).to(layers[0].device());
    return at::cat(layers);
  }

  // Milliseconds for a token of greedy decoding behind `cache`; the first two tokens warm up.
  absl::StatusOr<double> DecodeMs(const Sequence& sequence, KvCache& cache) const {
    constexpr int64_t kWarmUpTokens = 2;
    int32_t token = sequence.continuation.front();
    std::optional<Stopwatch> watch;
    for (int64_t i = 0; i < kWarmUpTokens + options_.timed_decode_tokens; ++i) {
      if (i == kWarmUpTokens) watch.emplace();
      ASSIGN_OR_RETURN(const at::Tensor logits, decoder_.Forward({token}, cache, {}));
      token = static_cast<int32_t>(logits.argmax().item<int64_t>());
    }
    return watch->Milliseconds() / static_cast<double>(options_.timed_decode_tokens);
  }

  const Decoder& decoder_;
  const std::vector<const Policy*>& policies_;
  const InModelOptions& options_;
};

// Sums one cache's outcomes up over all sequences.
class CacheMeans {
 public:
  void Add(const Sequence& sequence, const Outcome& outcome, const Outcome& full) {
    const int64_t targets = static_cast<int64_t>(sequence.target_rows.size());
    share_.Add(outcome.cache_bytes / full.cache_bytes);
    if (sequence.is_text) {
      text_tokens_ += targets;
      nats_ += outcome.nats;
      window_nats_.Add(outcome.nats / static_cast<double>(targets));
      nats_over_full_.Add((outcome.nats - full.nats) / static_cast<double>(targets));
      text_bytes_.Add(outcome.cache_bytes);
      return;
    }
    correct_ += outcome.correct;
    questions_ += targets;
    const double accuracy = static_cast<double>(outcome.correct) / static_cast<double>(targets);
    prompt_accuracy_.Add(accuracy);
    prompts_.push_back({accuracy, static_cast<double>(targets)});
    Task& task = tasks_[sequence.task];
    task.correct += outcome.correct;
    task.questions += targets;
    task.prompts.push_back(prompts_.back());
    bytes_.Add(outcome.cache_bytes);
  }

  CacheResult Result(const BootstrapOptions& bootstrap) const {
    CacheResult result;
    if (questions_ > 0) {
      result.accuracy = static_cast<double>(correct_) / static_cast<double>(questions_);
    }
    result.accuracy_standard_error = prompt_accuracy_.standard_error();
    result.correct = correct_;
    result.questions = questions_;
    result.accuracy_interval = BootstrapInterval(prompts_, bootstrap);
    RunningMean task_mean;
    for (const auto& [name, task] : tasks_) {
      result.tasks[name] = static_cast<double>(task.correct) / static_cast<double>(task.questions);
      result.task_details[name] = {BootstrapInterval(task.prompts, bootstrap), task.questions};
      task_mean.Add(result.tasks[name]);
    }
    if (task_mean.count() > 0) result.task_mean = task_mean.mean();
    if (text_tokens_ > 0) {
      result.nats_per_token = nats_ / static_cast<double>(text_tokens_);
      result.perplexity = std::exp(result.nats_per_token);
      result.nats_standard_error = window_nats_.standard_error();
      result.nats_over_full_cache = nats_over_full_.mean();
      result.nats_over_full_cache_standard_error = nats_over_full_.standard_error();
      result.perplexity_tokens = text_tokens_;
    }
    result.cache_bytes = bytes_.count() > 0 ? bytes_.mean() : text_bytes_.mean();
    result.cache_share = share_.mean();
    return result;
  }

 private:
  struct Task {
    int64_t correct = 0;
    int64_t questions = 0;
    std::vector<BootstrapItem> prompts;
  };

  int64_t correct_ = 0;
  int64_t questions_ = 0;
  RunningMean prompt_accuracy_;
  std::vector<BootstrapItem> prompts_;
  std::map<std::string, Task> tasks_;
  int64_t text_tokens_ = 0;
  double nats_ = 0;
  RunningMean window_nats_;
  RunningMean nats_over_full_;
  RunningMean bytes_;
  RunningMean text_bytes_;
  RunningMean share_;
};

absl::StatusOr<Costs> MeasureCosts(const InModelEvaluation& evaluation,
                                   const std::vector<Sequence>& sequences, size_t policies,
                                   size_t budgets, int64_t count) {
  const auto empty = [&] {
    Costs costs;
    costs.score_ms.resize(policies);
    costs.compact_ms.assign(policies, std::vector<std::vector<double>>(budgets));
    costs.decode_ms = costs.compact_ms;
    return costs;
  };
  Costs costs = empty();
  if (count < 1) return costs;
  Costs warm_up = empty();
  RETURN_IF_ERROR(evaluation.Time(sequences.front(), warm_up));
  for (int64_t i = 0; i < std::min<int64_t>(count, sequences.size()); ++i) {
    RETURN_IF_ERROR(evaluation.Time(sequences[i], costs));
  }
  return costs;
}

}  // namespace

absl::StatusOr<InModelResults> EvaluateInModel(const Decoder& decoder,
                                               const std::vector<EvaluationPrompt>& prompts,
                                               const std::vector<TextWindow>& windows,
                                               const std::vector<const Policy*>& policies,
                                               const InModelOptions& options) {
  for (double budget : options.budgets) RETURN_IF_ERROR(BudgetTokens(budget, 1).status());
  std::vector<Sequence> sequences;
  RunningMean context_tokens;
  for (const EvaluationPrompt& prompt : prompts) {
    RETURN_IF_ERROR(CheckPrompt(prompt));
    sequences.push_back(SequenceOf(prompt));
    context_tokens.Add(static_cast<double>(prompt.context.size()));
  }
  for (const TextWindow& window : windows) sequences.push_back(SequenceOf(window));
  if (sequences.empty()) {
    return absl::InvalidArgumentError("nothing to run: neither a prompt nor a text window");
  }

  const int64_t positions = decoder.max_model_len();
  for (const Sequence& sequence : sequences) {
    const int64_t tokens =
        static_cast<int64_t>(sequence.context.size() + sequence.continuation.size());
    if (tokens > positions) {
      return absl::InvalidArgumentError(
          absl::StrCat("a context of ", sequence.context.size(), " tokens and what follows it are ",
                       tokens, " tokens, more than max_model_len=", positions));
    }
  }

  const InModelEvaluation evaluation(decoder, policies, options);
  const int64_t count = static_cast<int64_t>(sequences.size());
  std::vector<SequenceOutcomes> outcomes(sequences.size());
  // Prompts side by side use the cores better than threads within these small operations, and times
  // taken on one thread don't hang on what else the machine does.
  const SingleThreadedMath single;
  absl::Mutex mutex;
  int64_t done = 0;
  RETURN_IF_ERROR(ParallelFor(count, options.threads, [&](int64_t i) -> absl::Status {
    ASSIGN_OR_RETURN(outcomes[i], evaluation.Run(sequences[i]));
    absl::MutexLock lock(&mutex);
    if (options.progress) options.progress(++done, count);
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(const Costs costs,
                   MeasureCosts(evaluation, sequences, policies.size(), options.budgets.size(),
                                options.timed_sequences));

  const auto result = [&](const auto& outcome_of) {
    CacheMeans means;
    for (size_t i = 0; i < sequences.size(); ++i) {
      means.Add(sequences[i], outcome_of(outcomes[i]), outcomes[i].full);
    }
    return means.Result(options.bootstrap);
  };
  InModelResults results;
  results.prefill_ms = Median(costs.prefill_ms);
  results.context_tokens = context_tokens.count() == 0 ? 0 : context_tokens.mean();
  results.full_cache = result([](const SequenceOutcomes& outcome) { return outcome.full; });
  results.full_cache.decode_ms_per_token = Median(costs.full_decode_ms);
  for (size_t p = 0; p < policies.size(); ++p) {
    ByBudget<CacheResult> cells;
    for (size_t b = 0; b < options.budgets.size(); ++b) {
      CacheResult& cell = cells[options.budgets[b]];
      cell = result([&](const SequenceOutcomes& outcome) { return outcome.compressed[p][b]; });
      cell.score_ms = Median(costs.score_ms[p]);
      cell.compact_ms = Median(costs.compact_ms[p][b]);
      cell.decode_ms_per_token = Median(costs.decode_ms[p][b]);
    }
    results.policies.emplace_back(policies[p]->name(), std::move(cells));
  }
  return results;
}

}  // namespace kvp

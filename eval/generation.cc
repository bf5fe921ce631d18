#include "eval/generation.h"

#include <algorithm>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/cat.h"
#include "absl/strings/str_cat.h"
#include "eval/compression.h"
#include "eval/context_watch.h"
#include "eval/fixed_budget.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::Status CheckPromptAndSampling(absl::Span<const int32_t> prompt,
                                    const GenerationOptions& options) {
  if (prompt.empty()) return absl::InvalidArgumentError("prompt: it has no tokens");
  return options.sampling.Validate();
}

// What `tokens` entries of every head take.
int64_t BytesOfEntries(const ModelConfig& config, const KvCache& cache, int64_t tokens) {
  return 2 * config.layers * config.kv_heads * config.head_dim * tokens *
         static_cast<int64_t>(cache.keys(0, 0).element_size());
}

}  // namespace

absl::StatusOr<Generation> GenerateCompressed(const Decoder& decoder,
                                              absl::Span<const int32_t> prompt,
                                              const Policy* policy,
                                              const GenerationOptions& options) {
  const at::NoGradGuard no_gradients;
  RETURN_IF_ERROR(CheckPromptAndSampling(prompt, options));
  RETURN_IF_ERROR(BudgetTokens(options.budget, 1).status());
  const bool compress = options.budget < 1 && prompt.size() > 1;
  if (options.budget < 1 && policy == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("budget ", options.budget, ": it needs a policy that says what is kept"));
  }

  Decoder::ForwardOptions forward;
  forward.logits = options.prompt_logits ? Decoder::Logits::kAll : Decoder::Logits::kLast;
  KvCache cache = decoder.NewCache();
  Generation generation;
  std::vector<at::Tensor> prompt_logits;
  absl::Span<const int32_t> rest = prompt;
  if (compress) {
    const absl::Span<const int32_t> context = prompt.first(prompt.size() - 1);
    ContextWatch watch(decoder, {policy}, options.replay_prompt);
    Decoder::ForwardOptions prefill = forward;
    if (!options.prompt_logits) prefill.logits = Decoder::Logits::kNone;
    prefill.observer = watch.observer();
    ASSIGN_OR_RETURN(const at::Tensor logits, decoder.Forward(context, cache, prefill));
    if (options.prompt_logits) prompt_logits.push_back(logits.cpu());
    generation.full_cache_bytes = cache.allocated_bytes();
    ASSIGN_OR_RETURN(const PolicyInput input, watch.Input(context, cache, options.sampling.seed));
    ASSIGN_OR_RETURN(const at::Tensor scores, policy->Score(input));
    RETURN_IF_ERROR(
        CompressCache(*policy, input, scores, options.budget, options.protected_tokens, cache));
    generation.cache_bytes = cache.allocated_bytes();
    if (options.on_compressed) {
      options.on_compressed(generation.cache_bytes, generation.full_cache_bytes);
    }
    rest = prompt.last(1);
  }
  ASSIGN_OR_RETURN(const at::Tensor logits, decoder.Forward(rest, cache, forward));
  if (options.prompt_logits) {
    prompt_logits.push_back(logits.cpu());
    generation.prompt_logits = at::cat(prompt_logits);
  }
  if (!compress) generation.full_cache_bytes = generation.cache_bytes = cache.allocated_bytes();
  ASSIGN_OR_RETURN(generation.tokens,
                   Generate(decoder, cache, logits[logits.size(0) - 1], options.max_new_tokens,
                            options.sampling, {}, options.on_token));
  return generation;
}

absl::StatusOr<Generation> GenerateWithinBudget(const Decoder& decoder,
                                                absl::Span<const int32_t> prompt,
                                                const Policy& policy,
                                                const GenerationOptions& options) {
  const at::NoGradGuard no_gradients;
  RETURN_IF_ERROR(CheckPromptAndSampling(prompt, options));
  if (options.chunk_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk_tokens is ", options.chunk_tokens, ": must be positive"));
  }
  FixedBudget::Options budget_options;
  budget_options.budget_tokens = options.budget_tokens;
  budget_options.protected_tokens = options.protected_tokens;
  budget_options.rope_frequencies = decoder.rope_frequencies();
  budget_options.sequence_seed = options.sampling.seed;
  ASSIGN_OR_RETURN(FixedBudget budget, FixedBudget::Create(&policy, std::move(budget_options)));

  KvCache cache = decoder.NewCache();
  std::vector<at::Tensor> prompt_logits;
  at::Tensor last_logits;
  Decoder::ForwardOptions forward;
  forward.chunk_tokens = options.chunk_tokens;
  const size_t chunk = static_cast<size_t>(options.chunk_tokens);
  for (size_t first = 0; first < prompt.size(); first += chunk) {
    const absl::Span<const int32_t> tokens = prompt.subspan(first, chunk);
    const bool is_last = first + tokens.size() == prompt.size();
    forward.logits = options.prompt_logits ? Decoder::Logits::kAll
                     : is_last             ? Decoder::Logits::kLast
                                           : Decoder::Logits::kNone;
    ASSIGN_OR_RETURN(const at::Tensor logits, decoder.Forward(tokens, cache, forward));
    RETURN_IF_ERROR(budget.Update(cache));
    if (options.prompt_logits) prompt_logits.push_back(logits.cpu());
    if (is_last) last_logits = logits[logits.size(0) - 1];
  }
  Generation generation;
  if (options.prompt_logits) generation.prompt_logits = at::cat(prompt_logits);
  generation.cache_bytes = cache.allocated_bytes();
  generation.full_cache_bytes =
      BytesOfEntries(decoder.config(), cache, static_cast<int64_t>(prompt.size()));
  if (options.on_compressed) {
    options.on_compressed(generation.cache_bytes, generation.full_cache_bytes);
  }

  GenerationSequence sequence;
  sequence.cache = &cache;
  sequence.logits = std::move(last_logits);
  sequence.max_new_tokens = options.max_new_tokens;
  sequence.seed = options.sampling.seed;
  sequence.on_entries = [&budget](KvCache& grown) { return budget.Update(grown); };
  std::function<void(size_t, int32_t)> on_token;
  if (options.on_token) on_token = [&](size_t, int32_t token) { options.on_token(token); };
  ASSIGN_OR_RETURN(
      std::vector<std::vector<int32_t>> tokens,
      GenerateBatch(decoder, absl::MakeSpan(&sequence, 1), options.sampling, {}, on_token));
  generation.tokens = std::move(tokens[0]);
  return generation;
}

}  // namespace kvp

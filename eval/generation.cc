#include "eval/generation.h"

#include "ATen/core/grad_mode.h"
#include "ATen/ops/cat.h"
#include "absl/strings/str_cat.h"
#include "eval/compression.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<Generation> GenerateCompressed(const Decoder& decoder,
                                              absl::Span<const int32_t> prompt,
                                              const Policy* policy,
                                              const GenerationOptions& options) {
  const at::NoGradGuard no_gradients;
  if (prompt.empty()) return absl::InvalidArgumentError("prompt: it has no tokens");
  RETURN_IF_ERROR(options.sampling.Validate());
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
    Decoder::ForwardOptions prefill = forward;
    if (!options.prompt_logits) prefill.logits = Decoder::Logits::kNone;
    ASSIGN_OR_RETURN(const at::Tensor logits,
                     decoder.Forward(prompt.first(prompt.size() - 1), cache, prefill));
    if (options.prompt_logits) prompt_logits.push_back(logits.cpu());
    generation.full_cache_bytes = cache.allocated_bytes();
    ASSIGN_OR_RETURN(const PolicyInput input, InputOfCache(cache, options.sampling.seed));
    ASSIGN_OR_RETURN(const at::Tensor scores, policy->Score(input));
    RETURN_IF_ERROR(CompressCache(scores, options.budget, options.protected_tokens, cache));
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

}  // namespace kvp

// Generating text from a prompt whose cache is compressed on the way.

#ifndef KVP_EVAL_GENERATION_H_
#define KVP_EVAL_GENERATION_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "llm/decoder.h"
#include "llm/sampling.h"
#include "policy/policy.h"
#include "policy/selection.h"

namespace kvp {

struct GenerationOptions {
  int64_t max_new_tokens = 64;
  SamplingOptions sampling;
  // Share of the prompt's cache that stays; the whole cache, and no policy, where it is 1.
  double budget = 1;
  ProtectedTokens protected_tokens;
  // Entries of each head that GenerateWithinBudget holds, and the tokens of the prompt that run
  // before entries leave: the cache holds at most the sum of both.
  int64_t budget_tokens = 0;
  int64_t chunk_tokens = 512;
  // The tokens of kReplayPrompt (eval/context_replay.h), for policies that repeat the context.
  std::vector<int32_t> replay_prompt;
  // Whether the logits of all prompt tokens are wanted.
  bool prompt_logits = false;
  // Both may be null. Once the cache is compressed, before the first token; bytes as in Generation.
  std::function<void(int64_t cache_bytes, int64_t full_cache_bytes)> on_compressed;
  std::function<void(int32_t)> on_token;
};

struct Generation {
  std::vector<int32_t> tokens;
  // fp32 [prompt tokens, vocab_size] on the CPU; undefined unless it was asked for. Where the cache
  // is compressed the last row is the model's with the compressed cache, the others' are the whole
  // one's; within a budget, each is the model's with what there was.
  at::Tensor prompt_logits;
  int64_t full_cache_bytes = 0;  // before compaction, or what the whole prompt's cache would take
  int64_t cache_bytes = 0;       // after
};

// Prefills all of `prompt` but its last token, compresses what the cache then holds to the budget
// by the policy's scores, runs the last token, and decodes from there. So the first generated token
// already depends on the compressed cache alone. `policy` may be null where options.budget is 1; a
// prompt of one token has nothing to compress.
//
// INVALID_ARGUMENT for an empty prompt, a budget outside (0, 1], a budget below 1 without a policy,
// or bad sampling options; errors of the policy.
absl::StatusOr<Generation> GenerateCompressed(const Decoder& decoder,
                                              absl::Span<const int32_t> prompt,
                                              const Policy* policy,
                                              const GenerationOptions& options);

// The same within options.budget_tokens entries a head for ever (eval/fixed_budget.h): the prompt
// runs in chunks of options.chunk_tokens, entries leave behind each chunk, and then one for each
// token that is generated. options.budget is not used. INVALID_ARGUMENT as FixedBudget::Create, for
// an empty prompt, chunks below 1, or bad sampling options.
absl::StatusOr<Generation> GenerateWithinBudget(const Decoder& decoder,
                                                absl::Span<const int32_t> prompt,
                                                const Policy& policy,
                                                const GenerationOptions& options);

}  // namespace kvp

#endif  // KVP_EVAL_GENERATION_H_

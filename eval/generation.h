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
  // one's.
  at::Tensor prompt_logits;
  int64_t full_cache_bytes = 0;  // before compaction
  int64_t cache_bytes = 0;       // after
};

// Prefills all of `prompt` but its last token, compresses what the cache then holds to the budget
// by the policy's scores, runs the last token, and decodes from there. So the first generated token
// already depends on the compressed cache alone. `policy` may be null where options.budget is 1; a
// prompt of one token has nothing to compress.
//
// INVALID_ARGUMENT for an empty prompt, a budget outside (0, 1], a budget below 1 without a policy,
// or bad sampling options.
absl::StatusOr<Generation> GenerateCompressed(const Decoder& decoder,
                                              absl::Span<const int32_t> prompt,
                                              const Policy* policy,
                                              const GenerationOptions& options);

}  // namespace kvp

#endif  // KVP_EVAL_GENERATION_H_

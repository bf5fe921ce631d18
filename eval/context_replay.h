// The second pass of policy kv_zip: the model is made to repeat its context.

#ifndef KVP_EVAL_CONTEXT_REPLAY_H_
#define KVP_EVAL_CONTEXT_REPLAY_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "llm/decoder.h"
#include "llm/kv_cache.h"

namespace kvp {

// What asks for the repetition, in words.
constexpr char kReplayPrompt[] = "\n\nRepeat the previous context exactly.\n";

// Tokens of a context of `context_tokens` that can be repeated at once behind a prompt of
// `prompt_tokens`. FAILED_PRECONDITION where the model's length leaves no room.
absl::StatusOr<int64_t> ReplayChunkTokens(const Decoder& decoder, int64_t context_tokens,
                                          int64_t prompt_tokens);

// Kim et al., "KVzip: Query-Agnostic KV Cache Compression with Context Reconstruction" (2025): the
// context is given once more behind its cache and the tokens `prompt`, and what that attends to is
// what is needed to tell it again. Long contexts are repeated in chunks of 2,048 tokens, fewer
// where the model's length leaves less room, each behind the prompt and the last 8 tokens of the
// chunk before; as many copies of the cache are made, one at a time.
//
// Returns fp32 [layers * kv_heads, context], layer-major, on the first layer's device: the largest
// attention that each entry of the context got, over the repetition's queries and the group.
//
// `cache` holds the context and nothing else, and isn't changed. INVALID_ARGUMENT where it doesn't;
// errors of ReplayChunkTokens and of the decoder.
absl::StatusOr<at::Tensor> ReplayAttention(const Decoder& decoder,
                                           absl::Span<const int32_t> context, const KvCache& cache,
                                           absl::Span<const int32_t> prompt);

}  // namespace kvp

#endif  // KVP_EVAL_CONTEXT_REPLAY_H_

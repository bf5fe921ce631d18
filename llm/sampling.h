// The next token from logits: greedy, or seeded sampling.

#ifndef KVP_LLM_SAMPLING_H_
#define KVP_LLM_SAMPLING_H_

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "llm/decoder.h"

namespace kvp {

struct SamplingOptions {
  // 0: greedy. Above: softmax(logits / temperature) is sampled.
  double temperature = 0;
  // Only the top_k likeliest tokens are sampled (0: all), of these only the likeliest whose
  // probabilities sum to top_p.
  int64_t top_k = 0;
  double top_p = 1;
  uint64_t seed = 0;

  // INVALID_ARGUMENT naming the field and its value.
  absl::Status Validate() const;
};

// Samples one token from `logits` [vocab_size]. Ties of greedy go to the lowest id.
int32_t SampleToken(const at::Tensor& logits, const SamplingOptions& options,
                    std::mt19937_64& random);

// One sequence that is to be continued.
struct GenerationSequence {
  KvCache* cache = nullptr;  // not owned
  // [vocab_size], those of the last token that the cache has seen.
  at::Tensor logits;
  int64_t max_new_tokens = 0;
  uint64_t seed = 0;  // of this sequence's draws; SamplingOptions::seed isn't used
  AttentionObserver* observer = nullptr;  // not owned; may be null
  // Called with the cache whenever it holds another token's entries; it may remove some. An error
  // ends the generation. May be null.
  std::function<absl::Status(KvCache&)> on_entries;
};

// Continues each sequence by up to its max_new_tokens, all of them together: each gets the tokens
// that it would get alone, and leaves the batch when it is done. A sequence stops after an
// end-of-sequence token, which is not returned. `on_token` (may be null) sees the sequence's index
// and each token as it is drawn. Every returned token is also in its cache, so that the observer
// has seen its attention. INVALID_ARGUMENT naming the sequence and the value; else Decoder's
// errors.
absl::StatusOr<std::vector<std::vector<int32_t>>> GenerateBatch(
    const Decoder& decoder, absl::Span<GenerationSequence> sequences,
    const SamplingOptions& options, const Decoder::ForwardOptions& forward = {},
    const std::function<void(size_t sequence, int32_t token)>& on_token = {});

// The same for one sequence, with options.seed and forward.observer.
absl::StatusOr<std::vector<int32_t>> Generate(const Decoder& decoder, KvCache& cache,
                                              at::Tensor logits, int64_t max_new_tokens,
                                              const SamplingOptions& options,
                                              const Decoder::ForwardOptions& forward = {},
                                              const std::function<void(int32_t)>& on_token = {});

}  // namespace kvp

#endif  // KVP_LLM_SAMPLING_H_

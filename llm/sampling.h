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

// Continues `cache` from `logits` [vocab_size], those of the last token that the cache has seen, by
// up to max_new_tokens. Stops after an end-of-sequence token, which is not returned. `on_token`
// (may be null) sees each token as it is drawn. Every returned token is also in the cache, so that
// its attention was seen by forward.observer.
absl::StatusOr<std::vector<int32_t>> Generate(const Decoder& decoder, KvCache& cache,
                                              at::Tensor logits, int64_t max_new_tokens,
                                              const SamplingOptions& options,
                                              const Decoder::ForwardOptions& forward = {},
                                              const std::function<void(int32_t)>& on_token = {});

}  // namespace kvp

#endif  // KVP_LLM_SAMPLING_H_

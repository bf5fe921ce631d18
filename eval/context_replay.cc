#include "eval/context_replay.h"

#include <algorithm>
#include <vector>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/maximum.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "eval/query_observer.h"
#include "llm/attention_observer.h"
#include "policy/query_statistics.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kChunkTokens = 2048;
constexpr int64_t kOverlapTokens = 8;

// Keeps the largest weights that the first `context` entries get.
class LargestAttention : public AttentionObserver {
 public:
  LargestAttention(const ModelConfig& config, int64_t context)
      : kv_heads_(config.kv_heads), context_(context), largest_(config.layers) {}

  absl::Status OnAttention(const AttentionChunk& chunk) override {
    RETURN_IF_ERROR(CheckNothingRemoved("repetition", chunk));
    at::Tensor& largest = largest_[chunk.layer];
    if (!largest.defined()) {
      largest = at::zeros({kv_heads_, context_}, chunk.queries.options().dtype(at::kFloat));
    }
    ForEachAttentionBlock(
        LayerAttentionOf(chunk), [&](const at::Tensor& weights, int64_t first_entry) {
          const int64_t entries = std::min(weights.size(2), context_ - first_entry);
          if (entries <= 0) return;
          at::Tensor target = largest.narrow(1, first_entry, entries);
          target.copy_(at::maximum(target, weights.narrow(2, 0, entries)
                                               .amax(1)
                                               .view({kv_heads_, weights.size(0) / kv_heads_, -1})
                                               .amax(1)));
        });
    return absl::OkStatus();
  }

  at::Tensor Joined() const {
    std::vector<at::Tensor> layers;
    for (const at::Tensor& layer : largest_) layers.push_back(layer.to(largest_[0].device()));
    return at::cat(layers);
  }

 private:
  const int64_t kv_heads_;
  const int64_t context_;
  std::vector<at::Tensor> largest_;  // by layer: fp32 [kv_heads, context]
};

}  // namespace

absl::StatusOr<int64_t> ReplayChunkTokens(const Decoder& decoder, int64_t context_tokens,
                                          int64_t prompt_tokens) {
  const int64_t room = decoder.max_model_len() - context_tokens - prompt_tokens;
  if (room > kOverlapTokens) return std::min(kChunkTokens, room - kOverlapTokens);
  return absl::FailedPreconditionError(
      absl::StrCat("repetition: behind a context of ", context_tokens, " tokens and a prompt of ",
                   prompt_tokens, ", max_model_len=", decoder.max_model_len(), " leaves ", room,
                   "; at least ", kOverlapTokens + 1, " are needed"));
}

absl::StatusOr<at::Tensor> ReplayAttention(const Decoder& decoder,
                                           absl::Span<const int32_t> context, const KvCache& cache,
                                           absl::Span<const int32_t> prompt) {
  const at::NoGradGuard no_gradients;
  const int64_t tokens = static_cast<int64_t>(context.size());
  if (tokens == 0 || cache.next_position() != tokens) {
    return absl::InvalidArgumentError(absl::StrCat("repetition: a context of ", tokens,
                                                   " tokens, but the cache has seen ",
                                                   cache.next_position()));
  }
  ASSIGN_OR_RETURN(const int64_t chunk,
                   ReplayChunkTokens(decoder, tokens, static_cast<int64_t>(prompt.size())));
  LargestAttention observer(decoder.config(), tokens);
  Decoder::ForwardOptions forward;
  forward.logits = Decoder::Logits::kNone;
  forward.observer = &observer;
  for (int64_t first = 0; first < tokens; first += chunk) {
    std::vector<int32_t> repeated(prompt.begin(), prompt.end());
    const int64_t begin = std::max<int64_t>(0, first - kOverlapTokens);
    const int64_t end = std::min(tokens, first + chunk);
    repeated.insert(repeated.end(), context.begin() + begin, context.begin() + end);
    KvCache copy = cache;
    RETURN_IF_ERROR(decoder.Forward(repeated, copy, forward).status());
  }
  return observer.Joined();
}

}  // namespace kvp

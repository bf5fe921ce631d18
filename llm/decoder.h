// A decoder-only transformer in Hugging Face layout, running: RMSNorm, rotary positions,
// grouped-query attention over a KvCache, SwiGLU.

#ifndef KVP_LLM_DECODER_H_
#define KVP_LLM_DECODER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "llm/kv_cache.h"
#include "llm/model_config.h"

namespace kvp {

// Sees attention as it happens. Called on the decoder's thread, layer by layer, once per chunk of a
// forward pass.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;

  // `queries` [query_heads, tokens, head_dim], post-RoPE, of the chunk's tokens, the first of which
  // is at sequence position `first_position`; query head h belongs to KV head h / query_group.
  // `cache` already holds the chunk's K and V of this layer. Softmax scale is 1/sqrt(head_dim).
  // Tensors may not be kept without a copy.
  virtual absl::Status OnAttention(int64_t layer, const at::Tensor& queries, int64_t first_position,
                                   const KvCache& cache) = 0;
};

// Immutable after loading; Forward is thread-safe for different caches.
class Decoder {
 public:
  struct Options {
    std::string device = "cpu";  // "cpu", "cuda" or "cuda:N"
    std::string dtype =
        "float32";  // "float32", "bfloat16" or "float16": what the weights are converted to
  };
  enum class Logits { kNone, kLast, kAll };
  struct ForwardOptions {
    Logits logits = Logits::kLast;
    // Tokens a chunk: bounds the attention matrix to [query_heads, chunk, entries] per layer.
    int64_t chunk_tokens = 512;
    AttentionObserver* observer = nullptr;  // not owned
  };

  // Loads config.json and *.safetensors (model.safetensors, or the files of
  // model.safetensors.index.json) of `directory`. NOT_FOUND or INVALID_ARGUMENT naming the file,
  // the tensor and the value; UNIMPLEMENTED for an unknown architecture.
  static absl::StatusOr<std::unique_ptr<Decoder>> Load(const std::string& directory,
                                                       const Options& options);

  virtual ~Decoder() = default;

  virtual const ModelConfig& config() const = 0;
  // Hex hash of config.json and of all weights' bytes: the same model gives the same on every
  // machine.
  virtual const std::string& fingerprint() const = 0;

  // An empty cache on the decoder's device, in its dtype.
  virtual KvCache NewCache() const = 0;

  // Runs `tokens` behind what `cache` holds and appends their K and V. Returns fp32 logits [tokens,
  // vocab_size], [1, vocab_size] or an undefined tensor as options.logits says. INVALID_ARGUMENT
  // for no tokens or a token outside the vocabulary (the cache is unchanged then); an observer's
  // error is passed on, and the cache is then unusable.
  virtual absl::StatusOr<at::Tensor> Forward(absl::Span<const int32_t> tokens, KvCache& cache,
                                             const ForwardOptions& options) const = 0;
};

}  // namespace kvp

#endif  // KVP_LLM_DECODER_H_

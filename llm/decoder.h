// A decoder-only transformer in Hugging Face layout, running: RMSNorm, rotary positions,
// grouped-query attention over a KvCache, SwiGLU, with the switches that the families of
// model_config.h need.

#ifndef KVP_LLM_DECODER_H_
#define KVP_LLM_DECODER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "llm/attention_observer.h"
#include "llm/kv_cache.h"
#include "llm/model_config.h"

namespace kvp {

// Immutable after loading; Forward is thread-safe for different caches.
class Decoder {
 public:
  struct Options {
    // "cpu", "cuda" or "cuda:N"; of several, each gets as many of the layers, in order.
    std::vector<std::string> devices = {"cpu"};
    // "float32", "bfloat16" or "float16": what the weights are converted to.
    std::string dtype = "float32";
    // The longest sequence that will be run; longer ones are refused. It chooses between the short
    // and the long factors of longrope, as vLLM's option of this name does. 0:
    // ModelConfig::default_max_model_len.
    int64_t max_model_len = 0;
  };
  enum class Logits { kNone, kLast, kAll };
  struct ForwardOptions {
    Logits logits = Logits::kLast;
    // Tokens that go through a layer at once: bounds the memory of activations. Attention bounds
    // its own.
    int64_t chunk_tokens = 512;
    AttentionObserver* observer = nullptr;  // not owned; of Forward alone
  };
  // One sequence of a batch.
  struct Sequence {
    absl::Span<const int32_t> tokens;
    KvCache* cache = nullptr;               // not owned
    AttentionObserver* observer = nullptr;  // not owned; may be null
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
  // The longest sequence.
  virtual int64_t max_model_len() const = 0;
  // What it computes in: "float32", "bfloat16" or "float16".
  virtual const std::string& dtype() const = 0;
  // Angular frequencies with which queries and keys are rotated: entry i turns the pair (x[i], x[i
  // + n]) by position * frequency, n being their number.
  virtual std::vector<double> rope_frequencies() const = 0;

  // An empty cache, each layer on its device, in the decoder's dtype.
  virtual KvCache NewCache() const = 0;

  // Runs the tokens of each sequence behind what its cache holds and appends their K and V. There
  // is no padding: the sequences lie one behind another in the layers' products, and attention
  // keeps them apart, so each gets what it would get alone, but for rounding. Returns for each
  // sequence fp32 logits [tokens, vocab_size], [1, vocab_size] or an undefined tensor as
  // options.logits says.
  //
  // INVALID_ARGUMENT, naming the sequence, for no tokens, a token outside the vocabulary, a
  // sequence longer than max_model_len, or a cache given twice, and for options.observer (no cache
  // is changed then). An observer's error is passed on; RESOURCE_EXHAUSTED or INTERNAL where torch
  // fails. The caches are then unusable.
  virtual absl::StatusOr<std::vector<at::Tensor>> ForwardBatch(
      absl::Span<const Sequence> sequences, const ForwardOptions& options) const = 0;

  // The same for one sequence, watched by options.observer.
  absl::StatusOr<at::Tensor> Forward(absl::Span<const int32_t> tokens, KvCache& cache,
                                     const ForwardOptions& options) const;
};

}  // namespace kvp

#endif  // KVP_LLM_DECODER_H_

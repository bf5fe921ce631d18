#include "llm/decoder.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "llm/attention.h"
#include "llm/checkpoint.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// The weights of one layer. Matrices that read the same input lie on top of each other, so that one
// product does.
struct LayerWeights {
  at::Tensor attention_norm;    // [hidden]
  at::Tensor query_key_value;   // [(query_heads + 2 kv_heads) * head_dim, hidden]
  at::Tensor attention_output;  // [hidden, query_heads * head_dim]
  at::Tensor mlp_norm;          // [hidden]
  at::Tensor gate_up;           // [2 intermediate, hidden]
  at::Tensor down;              // [hidden, intermediate]
};

struct Weights {
  at::Tensor embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  at::Tensor final_norm;  // [hidden]
  at::Tensor output;      // [vocab, hidden]; the embedding itself where they are tied
};

absl::Status StatusOf(const c10::Error& error, absl::string_view action) {
  const std::string text = error.what_without_backtrace();
  const std::string message =
      absl::StrCat(action, ": ", std::vector<std::string>(absl::StrSplit(text, '\n'))[0]);
  const bool memory =
      absl::StrContains(text, "out of memory") || absl::StrContains(text, "can't allocate memory");
  return memory ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
}

absl::StatusOr<at::ScalarType> ParseDtype(const std::string& dtype) {
  if (dtype == "float32") return at::kFloat;
  if (dtype == "bfloat16") return at::kBFloat16;
  if (dtype == "float16") return at::kHalf;
  return absl::InvalidArgumentError(
      absl::StrCat("dtype is \"", dtype, "\": float32, bfloat16 or float16 is needed"));
}

absl::StatusOr<at::Device> ParseDevice(const std::string& device) {
  if (device == "cpu") return at::Device(at::kCPU);
  const std::vector<std::string> parts = absl::StrSplit(device, absl::MaxSplits(':', 1));
  int index = 0;
  if (parts[0] != "cuda" ||
      (parts.size() == 2 && (!absl::SimpleAtoi(parts[1], &index) || index < 0 || index > 127))) {
    return absl::InvalidArgumentError(
        absl::StrCat("device is \"", device, "\": cpu, cuda or cuda:N is needed"));
  }
  if (!at::hasCUDA()) {
    return absl::FailedPreconditionError(
        absl::StrCat("device is \"", device, "\": there is no CUDA device for this LibTorch"));
  }
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

// Whether this LibTorch can run the decoder's products there: 1.13 has none for float16 on the CPU.
absl::Status CheckDevice(const at::TensorOptions& options, const Decoder::Options& names) {
  try {
    const at::Tensor matrix = at::ones({2, 2}, options);
    at::mm(matrix, matrix).add_(at::bmm(matrix.unsqueeze(0), matrix.unsqueeze(0))[0]);
  } catch (const c10::Error& error) {
    return absl::UnimplementedError(absl::StrCat("device ", names.device, " with dtype ",
                                                 names.dtype, ": ",
                                                 StatusOf(error, "this LibTorch can't").message()));
  }
  return absl::OkStatus();
}

// Copies tensors out of a checkpoint, to a dtype and a device.
class WeightLoader {
 public:
  WeightLoader(Checkpoint& checkpoint, at::TensorOptions options)
      : checkpoint_(checkpoint), options_(options) {}

  absl::StatusOr<at::Tensor> Vector(const std::string& name, int64_t size) {
    ASSIGN_OR_RETURN(const at::Tensor mapped, checkpoint_.Get(name, {size}));
    return OnDevice(at::empty({size}, Host()).copy_(mapped));
  }

  // Matrices of the given numbers of rows, on top of each other.
  absl::StatusOr<at::Tensor> Matrices(const std::vector<std::pair<std::string, int64_t>>& parts,
                                      int64_t columns) {
    int64_t rows = 0;
    for (const auto& [name, count] : parts) rows += count;
    const at::Tensor stacked = at::empty({rows, columns}, Host());
    int64_t row = 0;
    for (const auto& [name, count] : parts) {
      ASSIGN_OR_RETURN(const at::Tensor mapped, checkpoint_.Get(name, {count, columns}));
      stacked.narrow(0, row, count).copy_(mapped);
      row += count;
    }
    return OnDevice(stacked);
  }

  absl::StatusOr<at::Tensor> Matrix(const std::string& name, int64_t rows, int64_t columns) {
    return Matrices({{name, rows}}, columns);
  }

 private:
  at::TensorOptions Host() const { return at::TensorOptions().dtype(options_.dtype()); }
  at::Tensor OnDevice(const at::Tensor& tensor) const { return tensor.to(options_.device()); }

  Checkpoint& checkpoint_;
  const at::TensorOptions options_;
};

absl::StatusOr<LayerWeights> LoadLayer(const ModelConfig& config, int64_t index,
                                       WeightLoader& loader) {
  const std::string prefix = absl::StrCat("model.layers.", index, ".");
  const auto named = [&](absl::string_view name) { return absl::StrCat(prefix, name, ".weight"); };
  const int64_t query_rows = config.query_heads * config.head_dim;
  const int64_t kv_rows = config.kv_heads * config.head_dim;
  LayerWeights layer;
  ASSIGN_OR_RETURN(layer.attention_norm,
                   loader.Vector(named("input_layernorm"), config.hidden_size));
  ASSIGN_OR_RETURN(layer.query_key_value, loader.Matrices({{named("self_attn.q_proj"), query_rows},
                                                           {named("self_attn.k_proj"), kv_rows},
                                                           {named("self_attn.v_proj"), kv_rows}},
                                                          config.hidden_size));
  ASSIGN_OR_RETURN(layer.attention_output,
                   loader.Matrix(named("self_attn.o_proj"), config.hidden_size, query_rows));
  ASSIGN_OR_RETURN(layer.mlp_norm,
                   loader.Vector(named("post_attention_layernorm"), config.hidden_size));
  ASSIGN_OR_RETURN(layer.gate_up,
                   loader.Matrices({{named("mlp.gate_proj"), config.intermediate_size},
                                    {named("mlp.up_proj"), config.intermediate_size}},
                                   config.hidden_size));
  ASSIGN_OR_RETURN(layer.down, loader.Matrix(named("mlp.down_proj"), config.hidden_size,
                                             config.intermediate_size));
  return layer;
}

absl::StatusOr<Weights> LoadWeights(const ModelConfig& config, Checkpoint& checkpoint,
                                    const at::TensorOptions& options) {
  WeightLoader loader(checkpoint, options);
  Weights weights;
  ASSIGN_OR_RETURN(weights.embedding, loader.Matrix("model.embed_tokens.weight", config.vocab_size,
                                                    config.hidden_size));
  for (int64_t index = 0; index < config.layers; ++index) {
    ASSIGN_OR_RETURN(LayerWeights layer, LoadLayer(config, index, loader));
    weights.layers.push_back(std::move(layer));
  }
  ASSIGN_OR_RETURN(weights.final_norm, loader.Vector("model.norm.weight", config.hidden_size));
  if (config.tie_word_embeddings) {
    checkpoint.Ignore("lm_head.weight");
    weights.output = weights.embedding;
  } else {
    ASSIGN_OR_RETURN(weights.output,
                     loader.Matrix("lm_head.weight", config.vocab_size, config.hidden_size));
  }
  RETURN_IF_ERROR(checkpoint.CheckAllUsed());
  return weights;
}

// x [tokens, in] times the transpose of weight [out, in].
at::Tensor Project(const at::Tensor& x, const at::Tensor& weight) {
  // For one token a matrix-vector product reads the weights once, where BLAS's matrix product would
  // copy them first.
  if (x.size(0) == 1 && x.is_cpu() && x.scalar_type() == at::kFloat) {
    return at::mv(weight, x[0]).unsqueeze(0);
  }
  return at::mm(x, weight.t());
}

// x / sqrt(mean(x^2) + eps) * weight, the mean and the division in fp32.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::square(wide).mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
  return (wide * scale).to(x.scalar_type()).mul_(weight);
}

// Rotary positions: cosines and sines [tokens, head_dim / 2] of the angles position * theta^(-2i /
// head_dim).
class Rotation {
 public:
  Rotation(const ModelConfig& config, int64_t first_position, int64_t tokens,
           const at::TensorOptions& options) {
    // In fp32 throughout, as models are trained: at far positions its rounding is part of the
    // model.
    const at::TensorOptions wide = options.dtype(at::kFloat);
    const at::Tensor exponents =
        at::arange(0, config.head_dim, 2, wide).div_(static_cast<double>(config.head_dim));
    const at::Tensor frequencies = at::pow(config.rope_theta, exponents).reciprocal_();
    const at::Tensor positions = at::arange(first_position, first_position + tokens, wide);
    const at::Tensor angles = at::outer(positions, frequencies);
    cosines_ = angles.cos().to(options.dtype());
    sines_ = angles.sin().to(options.dtype());
  }

  // Rotates each pair (x[i], x[i + head_dim / 2]) of `x` [heads, tokens, head_dim]; contiguous.
  at::Tensor Rotate(const at::Tensor& x) const {
    const int64_t half = x.size(2) / 2;
    const at::Tensor first = x.narrow(2, 0, half);
    const at::Tensor second = x.narrow(2, half, half);
    const at::Tensor rotated = at::empty(x.sizes(), x.options());
    at::Tensor rotated_first = rotated.narrow(2, 0, half);
    at::Tensor rotated_second = rotated.narrow(2, half, half);
    at::mul_out(rotated_first, first, cosines_).addcmul_(second, sines_, -1);
    at::mul_out(rotated_second, second, cosines_).addcmul_(first, sines_);
    return rotated;
  }

 private:
  at::Tensor cosines_;
  at::Tensor sines_;
};

class LlamaDecoder : public Decoder {
 public:
  LlamaDecoder(ModelConfig config, Weights weights, at::TensorOptions options,
               std::string fingerprint)
      : config_(std::move(config)),
        weights_(std::move(weights)),
        options_(options),
        fingerprint_(std::move(fingerprint)) {}

  const ModelConfig& config() const override { return config_; }
  const std::string& fingerprint() const override { return fingerprint_; }
  KvCache NewCache() const override { return KvCache(config_, options_); }

  absl::StatusOr<at::Tensor> Forward(absl::Span<const int32_t> tokens, KvCache& cache,
                                     const ForwardOptions& options) const override {
    if (tokens.empty()) return absl::InvalidArgumentError("tokens are empty");
    if (options.chunk_tokens < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("chunk_tokens is ", options.chunk_tokens, ": must be positive"));
    }
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] < 0 || tokens[i] >= config_.vocab_size) {
        return absl::InvalidArgumentError(absl::StrCat(
            "token ", i, " is ", tokens[i], ": outside of the vocabulary of ", config_.vocab_size));
      }
    }
    const at::NoGradGuard no_gradients;
    try {
      return ForwardChunks(tokens, cache, options);
    } catch (const c10::Error& error) {
      return StatusOf(error, "forward pass");
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("forward pass: out of memory");
    }
  }

 private:
  absl::StatusOr<at::Tensor> ForwardChunks(absl::Span<const int32_t> tokens, KvCache& cache,
                                           const ForwardOptions& options) const {
    const int64_t total = tokens.size();
    for (int64_t layer = 0; layer < config_.layers; ++layer) cache.Reserve(layer, total);
    at::Tensor logits;
    for (int64_t begin = 0; begin < total; begin += options.chunk_tokens) {
      const int64_t count = std::min(options.chunk_tokens, total - begin);
      ASSIGN_OR_RETURN(at::Tensor hidden,
                       ForwardChunk(tokens.subspan(begin, count), cache, options.observer));
      const bool last = begin + count == total;
      if (options.logits == Logits::kNone || (options.logits == Logits::kLast && !last)) continue;
      if (options.logits == Logits::kLast) hidden = hidden.narrow(0, count - 1, 1);
      hidden = RmsNorm(hidden, weights_.final_norm, config_.rms_norm_eps);
      const at::Tensor chunk_logits = Project(hidden, weights_.output).to(at::kFloat);
      if (options.logits == Logits::kLast || count == total) return chunk_logits;
      if (!logits.defined())
        logits = at::empty({total, config_.vocab_size}, chunk_logits.options());
      logits.narrow(0, begin, count).copy_(chunk_logits);
    }
    return logits;
  }

  // The last layer's output [tokens, hidden], before the final norm.
  absl::StatusOr<at::Tensor> ForwardChunk(absl::Span<const int32_t> tokens, KvCache& cache,
                                          AttentionObserver* observer) const {
    const int64_t count = tokens.size();
    const int64_t position = cache.next_position();
    const Rotation rotation(config_, position, count, options_);
    at::Tensor ids = at::empty({count}, at::kLong);
    std::copy(tokens.begin(), tokens.end(), ids.data_ptr<int64_t>());
    at::Tensor hidden = weights_.embedding.index_select(0, ids.to(options_.device()));
    for (int64_t index = 0; index < config_.layers; ++index) {
      const LayerWeights& layer = weights_.layers[index];
      const at::Tensor input = RmsNorm(hidden, layer.attention_norm, config_.rms_norm_eps);
      const at::Tensor by_head =
          Project(input, layer.query_key_value)
              .view({count, config_.query_heads + 2 * config_.kv_heads, config_.head_dim})
              .transpose(0, 1);
      const int64_t rotated_heads = config_.query_heads + config_.kv_heads;
      const at::Tensor rotated = rotation.Rotate(by_head.narrow(0, 0, rotated_heads));
      const at::Tensor queries = rotated.narrow(0, 0, config_.query_heads);
      cache.Append(index, rotated.narrow(0, config_.query_heads, config_.kv_heads),
                   by_head.narrow(0, rotated_heads, config_.kv_heads));
      if (observer != nullptr) {
        RETURN_IF_ERROR(observer->OnAttention(index, queries, position, cache));
      }
      hidden.add_(Project(Attend(queries, cache, index), layer.attention_output));
      hidden.add_(Mlp(hidden, layer));
    }
    cache.AdvancePosition(count);
    return hidden;
  }

  // down(silu(gate(x)) * up(x)) of the normalised input.
  at::Tensor Mlp(const at::Tensor& hidden, const LayerWeights& layer) const {
    const at::Tensor input = RmsNorm(hidden, layer.mlp_norm, config_.rms_norm_eps);
    const at::Tensor gate_up = Project(input, layer.gate_up);
    const int64_t size = config_.intermediate_size;
    const at::Tensor activated =
        at::silu(gate_up.narrow(1, 0, size)).mul_(gate_up.narrow(1, size, size));
    return Project(activated, layer.down);
  }

  const ModelConfig config_;
  const Weights weights_;
  const at::TensorOptions options_;
  const std::string fingerprint_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Load(const std::string& directory,
                                                       const Options& options) {
  ASSIGN_OR_RETURN(const at::ScalarType dtype, ParseDtype(options.dtype));
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  const at::TensorOptions tensor_options = at::TensorOptions().dtype(dtype).device(device);
  RETURN_IF_ERROR(CheckDevice(tensor_options, options));
  ASSIGN_OR_RETURN(ModelConfig config, LoadModelConfig(directory));
  ASSIGN_OR_RETURN(const std::string config_text,
                   ReadFile(absl::StrCat(directory, "/config.json")));
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(directory));
  const at::NoGradGuard no_gradients;
  try {
    ASSIGN_OR_RETURN(Weights weights, LoadWeights(config, *checkpoint, tensor_options));
    return std::make_unique<LlamaDecoder>(std::move(config), std::move(weights), tensor_options,
                                          checkpoint->Fingerprint(config_text));
  } catch (const c10::Error& error) {
    return StatusOf(error, absl::StrCat(directory, ": loading the weights"));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(directory, ": the weights don't fit memory"));
  }
}

}  // namespace kvp

#include "llm/decoder.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <set>
#include <utility>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"
#include "llm/attention.h"
#include "llm/checkpoint.h"
#include "llm/devices.h"
#include "llm/rotary.h"
#include "llm/weights.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// x [tokens, in] times the transpose of weight [out, in], plus `bias` [out] where it is defined.
at::Tensor Project(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {}) {
  // For one token a matrix-vector product reads the weights once, where BLAS's matrix product would
  // copy them first.
  if (x.size(0) == 1 && x.is_cpu() && x.scalar_type() == at::kFloat) {
    at::Tensor product = at::mv(weight, x[0]);
    if (bias.defined()) product.add_(bias);
    return product.unsqueeze(0);
  }
  return bias.defined() ? at::addmm(bias, x, weight.t()) : at::mm(x, weight.t());
}

// x / sqrt(mean(x^2) + eps) * weight over the last dimension, the mean and the division in fp32.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::square(wide).mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
  return (wide * scale).to(x.scalar_type()).mul_(weight);
}

// Consecutive tokens of one sequence in the rows [row, row + tokens) of a chunk's matrices.
struct Piece {
  size_t sequence = 0;
  int64_t first_token = 0;
  int64_t tokens = 0;
  int64_t row = 0;
  int64_t first_position = 0;
};

using Sequences = absl::Span<const Decoder::Sequence>;

// What goes through the layers at once: up to chunk_tokens tokens, of the sequences in order.
std::vector<std::vector<Piece>> ChunksOf(Sequences sequences, int64_t chunk_tokens) {
  std::vector<std::vector<Piece>> chunks;
  int64_t rows = chunk_tokens;  // of the last chunk
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t total = sequences[i].tokens.size();
    const int64_t position = sequences[i].cache->next_position();
    for (int64_t first = 0; first < total;) {
      if (rows == chunk_tokens) {
        chunks.emplace_back();
        rows = 0;
      }
      const int64_t tokens = std::min(chunk_tokens - rows, total - first);
      chunks.back().push_back({i, first, tokens, rows, position + first});
      first += tokens;
      rows += tokens;
    }
  }
  return chunks;
}

int64_t RowsOf(const std::vector<Piece>& chunk) { return chunk.back().row + chunk.back().tokens; }

class TransformerDecoder : public Decoder {
 public:
  TransformerDecoder(ModelConfig config, int64_t max_model_len, Weights weights,
                     std::vector<at::Device> devices, std::string dtype_name, at::ScalarType dtype,
                     std::string fingerprint)
      : config_(std::move(config)),
        max_model_len_(max_model_len),
        rotary_(RotaryPositionsOf(config_, max_model_len)),
        weights_(std::move(weights)),
        devices_(std::move(devices)),
        dtype_name_(std::move(dtype_name)),
        dtype_(dtype),
        fingerprint_(std::move(fingerprint)) {}

  const ModelConfig& config() const override { return config_; }
  const std::string& fingerprint() const override { return fingerprint_; }
  int64_t max_model_len() const override { return max_model_len_; }
  const std::string& dtype() const override { return dtype_name_; }
  std::vector<double> rope_frequencies() const override {
    const float* frequencies = rotary_.frequencies.data_ptr<float>();
    return std::vector<double>(frequencies, frequencies + rotary_.frequencies.numel());
  }
  KvCache NewCache() const override { return KvCache(config_, dtype_, devices_); }

  absl::StatusOr<std::vector<at::Tensor>> ForwardBatch(
      Sequences sequences, const ForwardOptions& options) const override {
    if (options.observer != nullptr) {
      return absl::InvalidArgumentError("observer: of a batch, each sequence has its own");
    }
    RETURN_IF_ERROR(Check(sequences, options));
    const at::NoGradGuard no_gradients;
    try {
      return ForwardChunks(sequences, options);
    } catch (const c10::Error& error) {
      return StatusOfTorchError(error, "forward pass");
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("forward pass: out of memory");
    }
  }

 private:
  absl::Status Check(Sequences sequences, const ForwardOptions& options) const {
    if (options.chunk_tokens < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("chunk_tokens is ", options.chunk_tokens, ": must be positive"));
    }
    std::set<const KvCache*> caches;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const std::string name = sequences.size() == 1 ? "" : absl::StrCat("sequence ", i, ": ");
      if (sequences[i].tokens.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(name, "tokens are empty"));
      }
      if (!caches.insert(sequences[i].cache).second) {
        return absl::InvalidArgumentError(absl::StrCat(name, "its cache is another's too"));
      }
      RETURN_IF_ERROR(CheckSequence(name, sequences[i]));
    }
    return absl::OkStatus();
  }

  absl::Status CheckSequence(const std::string& name, const Sequence& sequence) const {
    const int64_t tokens = sequence.tokens.size();
    for (int64_t i = 0; i < tokens; ++i) {
      if (sequence.tokens[i] < 0 || sequence.tokens[i] >= config_.vocab_size) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, "token ", i, " is ", sequence.tokens[i],
                         ": outside of the vocabulary of ", config_.vocab_size));
      }
    }
    const int64_t seen = sequence.cache->next_position();
    if (seen + tokens <= max_model_len_) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(name, seen + tokens, " tokens are more than max_model_len=", max_model_len_));
  }

  absl::StatusOr<std::vector<at::Tensor>> ForwardChunks(Sequences sequences,
                                                        const ForwardOptions& options) const {
    for (const Sequence& sequence : sequences) {
      for (int64_t layer = 0; layer < config_.layers; ++layer) {
        sequence.cache->Reserve(layer, sequence.tokens.size());
      }
    }
    std::vector<at::Tensor> logits(sequences.size());
    for (const std::vector<Piece>& chunk : ChunksOf(sequences, options.chunk_tokens)) {
      ASSIGN_OR_RETURN(const at::Tensor hidden, ForwardChunk(sequences, chunk));
      AddLogits(sequences, chunk, hidden, options.logits, logits);
    }
    return logits;
  }

  // The last layer's output [rows, hidden], before the final norm.
  absl::StatusOr<at::Tensor> ForwardChunk(Sequences sequences,
                                          const std::vector<Piece>& chunk) const {
    const int64_t rows = RowsOf(chunk);
    at::Tensor ids = at::empty({rows}, at::kLong);
    at::Tensor positions = at::empty({rows}, at::kFloat);
    for (const Piece& piece : chunk) {
      const int32_t* tokens = sequences[piece.sequence].tokens.data() + piece.first_token;
      std::copy_n(tokens, piece.tokens, ids.data_ptr<int64_t>() + piece.row);
      for (int64_t i = 0; i < piece.tokens; ++i) {
        positions.data_ptr<float>()[piece.row + i] = static_cast<float>(piece.first_position + i);
      }
    }
    at::Tensor hidden = weights_.embedding.index_select(0, ids.to(devices_[0]));
    std::unique_ptr<Rotation> rotation;
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      if (layer == 0 || devices_[layer] != devices_[layer - 1]) {
        hidden = hidden.to(devices_[layer]);
        rotation =
            std::make_unique<Rotation>(rotary_.frequencies.to(devices_[layer]),
                                       positions.to(devices_[layer]), rotary_.scaling, dtype_);
      }
      RETURN_IF_ERROR(AddAttention(sequences, chunk, layer, *rotation, hidden));
      AddMlp(weights_.layers[layer], hidden);
    }
    for (const Piece& piece : chunk) sequences[piece.sequence].cache->AdvancePosition(piece.tokens);
    return hidden;
  }

  absl::Status AddAttention(Sequences sequences, const std::vector<Piece>& chunk, int64_t index,
                            const Rotation& rotation, at::Tensor& hidden) const {
    const LayerWeights& layer = weights_.layers[index];
    const int64_t rows = hidden.size(0);
    const at::Tensor input = RmsNorm(hidden, layer.attention_norm, config_.rms_norm_eps);
    const at::Tensor by_head =
        Project(input, layer.query_key_value, layer.query_key_value_bias)
            .view({rows, config_.query_heads + 2 * config_.kv_heads, config_.head_dim})
            .transpose(0, 1);
    const int64_t rotated_heads = config_.query_heads + config_.kv_heads;
    const at::Tensor rotated =
        rotation.Rotate(Normalised(layer, by_head.narrow(0, 0, rotated_heads)));
    const at::Tensor values = by_head.narrow(0, rotated_heads, config_.kv_heads);

    const at::Tensor attended =
        at::empty({rows, config_.query_heads * config_.head_dim}, hidden.options());
    for (const Piece& piece : chunk) {
      const Sequence& sequence = sequences[piece.sequence];
      const at::Tensor own = rotated.narrow(1, piece.row, piece.tokens);
      sequence.cache->Append(index, own.narrow(0, config_.query_heads, config_.kv_heads),
                             values.narrow(1, piece.row, piece.tokens));
      AttentionChunk attention;
      attention.layer = index;
      attention.queries = own.narrow(0, 0, config_.query_heads);
      attention.first_position = piece.first_position;
      attention.cache = sequence.cache;
      attention.scale = 1.0 / std::sqrt(static_cast<double>(config_.head_dim));
      attention.window = config_.window(index);
      RETURN_IF_ERROR(
          Attend(attention, sequence.observer, attended.narrow(0, piece.row, piece.tokens)));
    }
    hidden.add_(Project(attended, layer.attention_output, layer.attention_output_bias));
    return absl::OkStatus();
  }

  // Queries and keys [query_heads + kv_heads, tokens, head_dim], each head normalised where the
  // family does that.
  at::Tensor Normalised(const LayerWeights& layer, const at::Tensor& heads) const {
    if (!layer.query_norm.defined()) return heads;
    return at::cat(
        {RmsNorm(heads.narrow(0, 0, config_.query_heads), layer.query_norm, config_.rms_norm_eps),
         RmsNorm(heads.narrow(0, config_.query_heads, config_.kv_heads), layer.key_norm,
                 config_.rms_norm_eps)});
  }

  // Adds down(silu(gate(x)) * up(x)) of the normalised input.
  void AddMlp(const LayerWeights& layer, at::Tensor& hidden) const {
    const at::Tensor input = RmsNorm(hidden, layer.mlp_norm, config_.rms_norm_eps);
    const at::Tensor gate_up = Project(input, layer.gate_up, layer.gate_up_bias);
    const int64_t size = config_.intermediate_size;
    const at::Tensor activated =
        at::silu(gate_up.narrow(1, 0, size)).mul_(gate_up.narrow(1, size, size));
    hidden.add_(Project(activated, layer.down, layer.down_bias));
  }

  // Puts the logits that are asked for, of the chunk's rows, where they belong in `logits`.
  void AddLogits(Sequences sequences, const std::vector<Piece>& chunk, const at::Tensor& hidden,
                 Logits wanted, std::vector<at::Tensor>& logits) const {
    if (wanted == Logits::kNone) return;
    std::vector<Piece> pieces;
    std::vector<at::Tensor> inputs;
    for (Piece piece : chunk) {
      const bool last = piece.first_token + piece.tokens ==
                        static_cast<int64_t>(sequences[piece.sequence].tokens.size());
      if (wanted == Logits::kLast) {
        if (!last) continue;
        piece.row += piece.tokens - 1;
        piece.tokens = 1;
      }
      inputs.push_back(hidden.narrow(0, piece.row, piece.tokens));
      pieces.push_back(piece);
    }
    if (pieces.empty()) return;
    const at::Tensor input = inputs.size() == 1 ? inputs[0] : at::cat(inputs);
    const at::Tensor result =
        Project(RmsNorm(input, weights_.final_norm, config_.rms_norm_eps), weights_.output)
            .to(at::kFloat);
    int64_t row = 0;
    for (const Piece& piece : pieces) {
      const at::Tensor part = result.narrow(0, row, piece.tokens);
      row += piece.tokens;
      const int64_t total = sequences[piece.sequence].tokens.size();
      at::Tensor& own = logits[piece.sequence];
      if (wanted == Logits::kLast || piece.tokens == total) {
        own = part;
        continue;
      }
      if (!own.defined()) own = at::empty({total, config_.vocab_size}, part.options());
      own.narrow(0, piece.first_token, piece.tokens).copy_(part);
    }
  }

  const ModelConfig config_;
  const int64_t max_model_len_;
  const RotaryPositions rotary_;
  const Weights weights_;
  const std::vector<at::Device> devices_;  // by layer
  const std::string dtype_name_;
  const at::ScalarType dtype_;
  const std::string fingerprint_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Load(const std::string& directory,
                                                       const Options& options) {
  ASSIGN_OR_RETURN(const at::ScalarType dtype, ParseDtype(options.dtype));
  if (options.max_model_len < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_model_len is ", options.max_model_len, ": must not be negative"));
  }
  // Before the files: a wrong device needn't wait for them.
  for (const std::string& name : options.devices) {
    ASSIGN_OR_RETURN(const at::Device device, ParseDevice(name));
    RETURN_IF_ERROR(CheckDevice(device, dtype));
  }
  ASSIGN_OR_RETURN(ModelConfig config, LoadModelConfig(directory));
  ASSIGN_OR_RETURN(std::vector<at::Device> devices,
                   DevicesOfLayers(options.devices, config.layers));
  ASSIGN_OR_RETURN(const std::string config_text,
                   ReadFile(absl::StrCat(directory, "/config.json")));
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(directory));
  const int64_t max_model_len = config.max_model_len(options.max_model_len);
  if (max_model_len > config.max_positions) {
    LogWarning(absl::StrCat(directory, ": max_model_len=", max_model_len,
                            " is beyond max_position_embeddings=", config.max_positions,
                            ", to which the model was trained"));
  }
  const at::NoGradGuard no_gradients;
  try {
    ASSIGN_OR_RETURN(Weights weights, LoadWeights(config, *checkpoint, dtype, devices));
    return std::make_unique<TransformerDecoder>(
        std::move(config), max_model_len, std::move(weights), std::move(devices), options.dtype,
        dtype, checkpoint->Fingerprint(config_text));
  } catch (const c10::Error& error) {
    return StatusOfTorchError(error, absl::StrCat(directory, ": loading the weights"));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(directory, ": the weights don't fit memory"));
  }
}

absl::StatusOr<at::Tensor> Decoder::Forward(absl::Span<const int32_t> tokens, KvCache& cache,
                                            const ForwardOptions& options) const {
  const Sequence sequence{tokens, &cache, options.observer};
  ForwardOptions batch_options = options;
  batch_options.observer = nullptr;
  ASSIGN_OR_RETURN(std::vector<at::Tensor> logits,
                   ForwardBatch(absl::MakeConstSpan(&sequence, 1), batch_options));
  return std::move(logits[0]);
}

}  // namespace kvp

#include "llm/weights.h"

#include <cstdint>
#include <string>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Tensors by name, each with its first size.
using Parts = std::vector<std::pair<std::string, int64_t>>;

// Copies tensors out of a checkpoint, to a dtype and a device.
class WeightLoader {
 public:
  WeightLoader(Checkpoint& checkpoint, at::ScalarType dtype, at::Device device)
      : checkpoint_(checkpoint), dtype_(dtype), device_(device) {}

  // Vectors of the given sizes, one behind another.
  absl::StatusOr<at::Tensor> Vectors(const Parts& parts) { return Stacked(parts, {}); }
  absl::StatusOr<at::Tensor> Vector(const std::string& name, int64_t size) {
    return Vectors({{name, size}});
  }
  // Matrices of the given numbers of rows, on top of each other.
  absl::StatusOr<at::Tensor> Matrices(const Parts& parts, int64_t columns) {
    return Stacked(parts, {columns});
  }
  absl::StatusOr<at::Tensor> Matrix(const std::string& name, int64_t rows, int64_t columns) {
    return Matrices({{name, rows}}, columns);
  }

 private:
  // Tensors whose first sizes are in `parts` and whose other ones are `rest`, one behind another.
  absl::StatusOr<at::Tensor> Stacked(const Parts& parts, const std::vector<int64_t>& rest) {
    const auto shape = [&](int64_t first) {
      std::vector<int64_t> sizes = {first};
      sizes.insert(sizes.end(), rest.begin(), rest.end());
      return sizes;
    };
    int64_t total = 0;
    for (const auto& [name, size] : parts) total += size;
    const at::Tensor stacked = at::empty(shape(total), Host());
    int64_t begin = 0;
    for (const auto& [name, size] : parts) {
      ASSIGN_OR_RETURN(const at::Tensor mapped, checkpoint_.Get(name, shape(size)));
      stacked.narrow(0, begin, size).copy_(mapped);
      checkpoint_.Release(name);
      begin += size;
    }
    return OnDevice(stacked);
  }

  at::TensorOptions Host() const { return at::TensorOptions().dtype(dtype_); }
  at::Tensor OnDevice(const at::Tensor& tensor) const { return tensor.to(device_); }

  Checkpoint& checkpoint_;
  const at::ScalarType dtype_;
  const at::Device device_;
};

// Loads one layer. Where a file has a fused projection, its rows are the parts' in the same order
// as they are stacked here.
class LayerLoader {
 public:
  LayerLoader(const ModelConfig& config, int64_t index, WeightLoader& loader)
      : config_(config), prefix_(absl::StrCat("model.layers.", index, ".")), loader_(loader) {}

  absl::StatusOr<LayerWeights> Load() {
    RETURN_IF_ERROR(LoadAttention());
    RETURN_IF_ERROR(LoadMlp());
    return layer_;
  }

 private:
  std::string Weight(absl::string_view module) const {
    return absl::StrCat(prefix_, module, ".weight");
  }
  static Parts WithSuffix(const Parts& modules, absl::string_view suffix) {
    Parts names;
    for (const auto& [module, size] : modules) {
      names.push_back({absl::StrCat(module, suffix), size});
    }
    return names;
  }

  absl::Status LoadAttention() {
    const int64_t query_rows = config_.query_heads * config_.head_dim;
    const int64_t kv_rows = config_.kv_heads * config_.head_dim;
    Parts projections = {{prefix_ + "self_attn.q_proj", query_rows},
                         {prefix_ + "self_attn.k_proj", kv_rows},
                         {prefix_ + "self_attn.v_proj", kv_rows}};
    if (config_.fused_projections) {
      projections = {{prefix_ + "self_attn.qkv_proj", query_rows + 2 * kv_rows}};
    }
    ASSIGN_OR_RETURN(layer_.attention_norm,
                     loader_.Vector(Weight("input_layernorm"), config_.hidden_size));
    ASSIGN_OR_RETURN(layer_.query_key_value,
                     loader_.Matrices(WithSuffix(projections, ".weight"), config_.hidden_size));
    if (config_.query_key_value_bias) {
      ASSIGN_OR_RETURN(layer_.query_key_value_bias,
                       loader_.Vectors(WithSuffix(projections, ".bias")));
    }
    if (config_.query_key_norm) {
      ASSIGN_OR_RETURN(layer_.query_norm,
                       loader_.Vector(Weight("self_attn.q_norm"), config_.head_dim));
      ASSIGN_OR_RETURN(layer_.key_norm,
                       loader_.Vector(Weight("self_attn.k_norm"), config_.head_dim));
    }
    ASSIGN_OR_RETURN(layer_.attention_output,
                     loader_.Matrix(Weight("self_attn.o_proj"), config_.hidden_size, query_rows));
    if (config_.attention_output_bias) {
      ASSIGN_OR_RETURN(layer_.attention_output_bias,
                       loader_.Vector(prefix_ + "self_attn.o_proj.bias", config_.hidden_size));
    }
    return absl::OkStatus();
  }

  absl::Status LoadMlp() {
    const int64_t size = config_.intermediate_size;
    Parts projections = {{prefix_ + "mlp.gate_proj", size}, {prefix_ + "mlp.up_proj", size}};
    if (config_.fused_projections) projections = {{prefix_ + "mlp.gate_up_proj", 2 * size}};
    ASSIGN_OR_RETURN(layer_.mlp_norm,
                     loader_.Vector(Weight("post_attention_layernorm"), config_.hidden_size));
    ASSIGN_OR_RETURN(layer_.gate_up,
                     loader_.Matrices(WithSuffix(projections, ".weight"), config_.hidden_size));
    ASSIGN_OR_RETURN(layer_.down,
                     loader_.Matrix(Weight("mlp.down_proj"), config_.hidden_size, size));
    if (config_.mlp_bias) {
      ASSIGN_OR_RETURN(layer_.gate_up_bias, loader_.Vectors(WithSuffix(projections, ".bias")));
      ASSIGN_OR_RETURN(layer_.down_bias,
                       loader_.Vector(prefix_ + "mlp.down_proj.bias", config_.hidden_size));
    }
    return absl::OkStatus();
  }

  const ModelConfig& config_;
  const std::string prefix_;
  WeightLoader& loader_;
  LayerWeights layer_;
};

// OK where a model with tied embeddings has no output matrix of its own, or one that is the same.
absl::Status CheckTiedOutput(const ModelConfig& config, Checkpoint& checkpoint) {
  const std::string output = "lm_head.weight";
  if (!checkpoint.has(output)) return absl::OkStatus();
  const std::vector<int64_t> shape = {config.vocab_size, config.hidden_size};
  ASSIGN_OR_RETURN(const at::Tensor own, checkpoint.Get(output, shape));
  ASSIGN_OR_RETURN(const at::Tensor tied, checkpoint.Get("model.embed_tokens.weight", shape));
  const bool same = own.scalar_type() == tied.scalar_type() && own.equal(tied);
  checkpoint.Release(output);
  checkpoint.Release("model.embed_tokens.weight");
  if (same) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(checkpoint.FileOf(output), ": tensor ", output,
                   " differs from model.embed_tokens.weight, but config.json's "
                   "tie_word_embeddings is true: one of the two is wrong"));
}

}  // namespace

absl::StatusOr<Weights> LoadWeights(const ModelConfig& config, Checkpoint& checkpoint,
                                    at::ScalarType dtype,
                                    absl::Span<const at::Device> layer_devices) {
  WeightLoader first(checkpoint, dtype, layer_devices.front());
  Weights weights;
  ASSIGN_OR_RETURN(weights.embedding, first.Matrix("model.embed_tokens.weight", config.vocab_size,
                                                   config.hidden_size));
  for (int64_t index = 0; index < config.layers; ++index) {
    WeightLoader loader(checkpoint, dtype, layer_devices[index]);
    ASSIGN_OR_RETURN(LayerWeights layer, LayerLoader(config, index, loader).Load());
    weights.layers.push_back(std::move(layer));
  }
  WeightLoader last(checkpoint, dtype, layer_devices.back());
  ASSIGN_OR_RETURN(weights.final_norm, last.Vector("model.norm.weight", config.hidden_size));
  if (config.tie_word_embeddings) {
    RETURN_IF_ERROR(CheckTiedOutput(config, checkpoint));
    weights.output = weights.embedding.to(layer_devices.back());
  } else {
    ASSIGN_OR_RETURN(weights.output,
                     last.Matrix("lm_head.weight", config.vocab_size, config.hidden_size));
  }
  RETURN_IF_ERROR(checkpoint.CheckAllUsed());
  return weights;
}

}  // namespace kvp

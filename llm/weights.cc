#include "llm/weights.h"

#include <cstdint>
#include <string>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Copies tensors out of a checkpoint, to a dtype and a device.
class WeightLoader {
 public:
  WeightLoader(Checkpoint& checkpoint, at::ScalarType dtype, at::Device device)
      : checkpoint_(checkpoint), dtype_(dtype), device_(device) {}

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
  at::TensorOptions Host() const { return at::TensorOptions().dtype(dtype_); }
  at::Tensor OnDevice(const at::Tensor& tensor) const { return tensor.to(device_); }

  Checkpoint& checkpoint_;
  const at::ScalarType dtype_;
  const at::Device device_;
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
    ASSIGN_OR_RETURN(LayerWeights layer, LoadLayer(config, index, loader));
    weights.layers.push_back(std::move(layer));
  }
  WeightLoader last(checkpoint, dtype, layer_devices.back());
  ASSIGN_OR_RETURN(weights.final_norm, last.Vector("model.norm.weight", config.hidden_size));
  if (config.tie_word_embeddings) {
    checkpoint.Ignore("lm_head.weight");
    weights.output = weights.embedding.to(layer_devices.back());
  } else {
    ASSIGN_OR_RETURN(weights.output,
                     last.Matrix("lm_head.weight", config.vocab_size, config.hidden_size));
  }
  RETURN_IF_ERROR(checkpoint.CheckAllUsed());
  return weights;
}

}  // namespace kvp

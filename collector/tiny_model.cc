#include "collector/tiny_model.h"

#include <map>
#include <vector>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "util/file.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

constexpr char kConfig[] = R"({
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "hidden_act": "silu",
  "hidden_size": 32,
  "intermediate_size": 48,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "head_dim": 8,
  "vocab_size": 96,
  "max_position_embeddings": 256,
  "rms_norm_eps": 1e-5,
  "rope_theta": 10000.0,
  "tie_word_embeddings": true
})";

}  // namespace

absl::Status WriteTinyModel(const std::string& directory, uint64_t seed) {
  at::manual_seed(seed);
  std::map<std::string, at::Tensor> weights;
  const auto add = [&weights](const std::string& name, const std::vector<int64_t>& shape) {
    weights[name] = at::randn(shape) * 0.4;
  };
  add("model.embed_tokens.weight", {kTinyVocab, 32});
  weights["model.norm.weight"] = at::ones({32});
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    weights[prefix + "input_layernorm.weight"] = at::ones({32});
    weights[prefix + "post_attention_layernorm.weight"] = at::ones({32});
    add(prefix + "self_attn.q_proj.weight", {32, 32});
    add(prefix + "self_attn.k_proj.weight", {16, 32});
    add(prefix + "self_attn.v_proj.weight", {16, 32});
    add(prefix + "self_attn.o_proj.weight", {32, 32});
    add(prefix + "mlp.gate_proj.weight", {48, 32});
    add(prefix + "mlp.up_proj.weight", {48, 32});
    add(prefix + "mlp.down_proj.weight", {32, 48});
  }
  RETURN_IF_ERROR(MakeDirectories(directory));
  RETURN_IF_ERROR(WriteFileAtomically(directory + "/config.json", {kConfig}));
  return WriteTensors(directory + "/model.safetensors", weights, {{"format", "pt"}});
}

}  // namespace kvp

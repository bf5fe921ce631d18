#include "llm/embedded/model_export.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "util/file.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

std::string ConfigJson(const TrainingModelConfig& config) {
  return absl::StrCat(
      R"({
  "architectures": ["LlamaForCausalLM"],
  "attention_bias": false,
  "attention_dropout": 0.0,
  "bos_token_id": )",
      kEndOfTextId, R"(,
  "eos_token_id": )",
      kEndOfTextId, R"(,
  "head_dim": )",
      kHeadDim, R"(,
  "hidden_act": "silu",
  "hidden_size": )",
      config.hidden, R"(,
  "initializer_range": 0.02,
  "intermediate_size": )",
      config.feed_forward, R"(,
  "max_position_embeddings": )",
      kEmbeddedContextTokens, R"(,
  "mlp_bias": false,
  "model_type": "llama",
  "num_attention_heads": )",
      config.query_heads, R"(,
  "num_hidden_layers": )",
      config.layers, R"(,
  "num_key_value_heads": )",
      config.kv_heads, R"(,
  "pretraining_tp": 1,
  "rms_norm_eps": )",
      config.norm_epsilon, R"(,
  "rope_scaling": null,
  "rope_theta": )",
      absl::StrCat(config.rope_theta), R"(.0,
  "tie_word_embeddings": true,
  "torch_dtype": "bfloat16",
  "use_cache": true,
  "vocab_size": )",
      config.vocabulary, R"(
}
)");
}

std::string GenerationConfigJson() {
  return absl::Substitute(R"({
  "bos_token_id": $0,
  "do_sample": false,
  "eos_token_id": $0
}
)",
                          kEndOfTextId);
}

}  // namespace

void RoundToBf16(TrainingModel* model) {
  for (at::Tensor& parameter : model->parameters()) {
    parameter.copy_(parameter.to(at::kBFloat16));
  }
  model->RefreshGemmWeights();
}

absl::Status WriteModelDirectory(const std::string& directory, const TrainingModel& model,
                                 const BytePairVocabulary& vocabulary) {
  using Index = ParameterIndex;
  const TrainingModelConfig& config = model.config();
  const std::vector<at::Tensor>& parameters = model.parameters();
  std::map<std::string, at::Tensor> tensors;
  const auto add = [&tensors](const std::string& name, const at::Tensor& tensor) {
    tensors[name] = tensor.to(at::kBFloat16).contiguous();
  };
  add("model.embed_tokens.weight", parameters[Index::kEmbedding]);
  for (int64_t l = 0; l < config.layers; ++l) {
    const std::string prefix = absl::StrCat("model.layers.", l, ".");
    const auto parameter = [&](Index::Role role) { return parameters[Index::Of(l, role)]; };
    const int64_t query_dim = config.query_heads * kHeadDim;
    const int64_t kv_dim = config.kv_heads * kHeadDim;
    const at::Tensor qkv = parameter(Index::kQkv);
    const at::Tensor gate_up = parameter(Index::kGateUp);
    add(prefix + "input_layernorm.weight", parameter(Index::kInputNorm));
    add(prefix + "self_attn.q_proj.weight", qkv.narrow(0, 0, query_dim));
    add(prefix + "self_attn.k_proj.weight", qkv.narrow(0, query_dim, kv_dim));
    add(prefix + "self_attn.v_proj.weight", qkv.narrow(0, query_dim + kv_dim, kv_dim));
    add(prefix + "self_attn.o_proj.weight", parameter(Index::kOutput));
    add(prefix + "post_attention_layernorm.weight", parameter(Index::kPostNorm));
    add(prefix + "mlp.gate_proj.weight", gate_up.narrow(0, 0, config.feed_forward));
    add(prefix + "mlp.up_proj.weight", gate_up.narrow(0, config.feed_forward, config.feed_forward));
    add(prefix + "mlp.down_proj.weight", parameter(Index::kDown));
  }
  add("model.norm.weight", parameters[Index::FinalNorm(config.layers)]);

  RETURN_IF_ERROR(MakeDirectories(directory));
  RETURN_IF_ERROR(WriteFileAtomically(directory + "/tokenizer.json", {TokenizerJson(vocabulary)}));
  RETURN_IF_ERROR(WriteFileAtomically(directory + "/config.json", {ConfigJson(config)}));
  RETURN_IF_ERROR(
      WriteFileAtomically(directory + "/generation_config.json", {GenerationConfigJson()}));
  return WriteTensors(directory + "/model.safetensors", tensors, {{"format", "pt"}});
}

}  // namespace kvp

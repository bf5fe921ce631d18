#include "llm/model_family.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxWindow = int64_t{1} << 40;
constexpr int64_t kMaxLayers = int64_t{1} << 30;
// Defaults of transformers' config classes.
constexpr int64_t kDefaultWindow = 4096;
constexpr int64_t kDefaultMaxWindowLayers = 28;
constexpr int64_t kQwen3HeadDim = 128;

std::vector<ModelFamily> Families() {
  std::vector<ModelFamily> families(5);
  ModelFamily& llama = families[0];
  llama.architecture = "LlamaForCausalLM";
  llama.model_type = "llama";
  llama.reads_attention_bias = llama.reads_mlp_bias = true;
  llama.kv_heads_default_to_query_heads = true;
  ModelFamily& mistral = families[1];
  mistral.architecture = "MistralForCausalLM";
  mistral.model_type = "mistral";
  mistral.window_rule = WindowRule::kAllLayers;
  mistral.default_window = kDefaultWindow;
  ModelFamily& qwen2 = families[2];
  qwen2.architecture = "Qwen2ForCausalLM";
  qwen2.model_type = "qwen2";
  qwen2.query_key_value_bias = true;
  qwen2.window_rule = WindowRule::kUpperLayers;
  ModelFamily& qwen3 = families[3];
  qwen3.architecture = "Qwen3ForCausalLM";
  qwen3.model_type = "qwen3";
  qwen3.reads_attention_bias = qwen3.query_key_norm = true;
  qwen3.window_rule = WindowRule::kUpperLayers;
  qwen3.default_head_dim = kQwen3HeadDim;
  ModelFamily& phi3 = families[4];
  phi3.architecture = "Phi3ForCausalLM";
  phi3.model_type = "phi3";
  phi3.fused_projections = true;
  phi3.window_rule = WindowRule::kAllLayers;
  phi3.kv_heads_default_to_query_heads = true;
  return families;
}

// Fields of other models. Those that bring tensors of their own needn't be here: a tensor that the
// architecture doesn't have is refused while the weights are loaded.
absl::Status CheckUnsupported(const ModelFamily& family, const JsonFields& fields) {
  for (const char* name :
       {"quantization_config", "compression_config", "attention_multiplier",
        "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "clip_qkv",
        "attention_chunk_size", "no_rope_layers", "dual_chunk_attention_config",
        "num_local_experts", "num_experts", "text_config"}) {
    if (fields.has(name)) return fields.Unsupported(name, "only null is supported");
  }
  for (const char* name : {"logit_scale", "logits_scaling", "embedding_multiplier", "scale_emb",
                           "residual_multiplier"}) {
    ASSIGN_OR_RETURN(const double value, fields.NumberOr(name, 1));
    if (value != 1) return fields.Unsupported(name, "only 1 is supported");
  }
  std::vector<const char*> flags = {"rope_interleaved",
                                    "lm_head_bias",
                                    "qk_layernorm",
                                    "use_qk_norm",
                                    "alibi",
                                    "use_mrope",
                                    "use_bidirectional_attention"};
  if (!family.reads_attention_bias) flags.push_back("attention_bias");
  if (!family.reads_mlp_bias) flags.push_back("mlp_bias");
  if (family.window_rule == WindowRule::kNone) flags.push_back("use_sliding_window");
  for (const char* name : flags) {
    ASSIGN_OR_RETURN(const bool value, fields.BoolOr(name, false));
    if (value) {
      return fields.Unsupported(name,
                                absl::StrCat("only false is supported for ", family.architecture));
    }
  }
  ASSIGN_OR_RETURN(const bool causal, fields.BoolOr("is_causal", true));
  if (!causal) return fields.Unsupported("is_causal", "only true is supported");
  ASSIGN_OR_RETURN(const std::string activation, fields.StringOr("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return fields.Unsupported("hidden_act", "only \"silu\" is supported");
  }
  return absl::OkStatus();
}

// The window of "sliding_window", 0 for none.
absl::StatusOr<int64_t> SlidingWindow(const JsonFields& fields, int64_t otherwise) {
  if (!fields.mentions("sliding_window")) return otherwise;
  if (!fields.has("sliding_window")) return 0;
  return fields.Integer("sliding_window", 1, kMaxWindow);
}

// Each layer's window, by the family's rule alone.
absl::StatusOr<std::vector<int64_t>> WindowsOfRule(const ModelFamily& family,
                                                   const JsonFields& fields, int64_t layers) {
  std::vector<int64_t> windows(layers, 0);
  if (family.window_rule == WindowRule::kNone) {
    if (fields.has("sliding_window")) {
      return fields.Unsupported("sliding_window",
                                absl::StrCat("only null is supported for ", family.architecture));
    }
    return windows;
  }
  if (family.window_rule == WindowRule::kAllLayers) {
    ASSIGN_OR_RETURN(const int64_t window, SlidingWindow(fields, family.default_window));
    windows.assign(layers, window);
    return windows;
  }
  ASSIGN_OR_RETURN(const bool use, fields.BoolOr("use_sliding_window", false));
  if (!use) return windows;
  ASSIGN_OR_RETURN(const int64_t window, SlidingWindow(fields, kDefaultWindow));
  int64_t first = kDefaultMaxWindowLayers;
  if (fields.has("max_window_layers")) {
    ASSIGN_OR_RETURN(first, fields.Integer("max_window_layers", 0, kMaxLayers));
  }
  for (int64_t layer = first; layer < layers; ++layer) windows[layer] = window;
  return windows;
}

// Whether each layer is a "sliding_attention"; empty where the file has no "layer_types".
absl::StatusOr<std::vector<bool>> SlidingLayers(const JsonFields& fields, int64_t layers) {
  const Json* types = fields.Find("layer_types");
  if (types == nullptr) return std::vector<bool>();
  if (!types->is_array() || static_cast<int64_t>(types->size()) != layers) {
    return fields.Invalid("layer_types",
                          absl::StrCat("a list of ", layers, " names, one a layer, is needed"));
  }
  std::vector<bool> sliding;
  for (const Json& type : *types) {
    if (type != "full_attention" && type != "sliding_attention") {
      return fields.Unsupported("layer_types",
                                "only \"full_attention\" and \"sliding_attention\" are supported");
    }
    sliding.push_back(type == "sliding_attention");
  }
  return sliding;
}

absl::StatusOr<std::vector<int64_t>> Windows(const ModelFamily& family, const JsonFields& fields,
                                             int64_t layers) {
  ASSIGN_OR_RETURN(std::vector<int64_t> windows, WindowsOfRule(family, fields, layers));
  ASSIGN_OR_RETURN(const std::vector<bool> sliding, SlidingLayers(fields, layers));
  if (sliding.empty()) return windows;
  if (family.window_rule == WindowRule::kUpperLayers) {
    ASSIGN_OR_RETURN(const bool use, fields.BoolOr("use_sliding_window", false));
    ASSIGN_OR_RETURN(const int64_t window, SlidingWindow(fields, kDefaultWindow));
    for (int64_t layer = 0; layer < layers; ++layer) {
      windows[layer] = use && sliding[layer] ? window : 0;
    }
  }
  for (int64_t layer = 0; layer < layers; ++layer) {
    if (sliding[layer] != (windows[layer] > 0)) {
      return fields.Unsupported(
          "layer_types",
          absl::StrCat("layer ", layer, ": only what agrees with the other fields is supported, ",
                       windows[layer] > 0 ? "a sliding window" : "full attention"));
    }
  }
  return windows;
}

}  // namespace

absl::StatusOr<ModelFamily> FamilyOf(const JsonFields& fields) {
  const Json* architectures = fields.Find("architectures");
  if (architectures == nullptr || !architectures->is_array() || architectures->size() != 1 ||
      !(*architectures)[0].is_string()) {
    return fields.Invalid("architectures", "a list of one name is needed");
  }
  std::vector<std::string> names;
  for (const ModelFamily& family : Families()) {
    names.push_back(family.architecture);
    if ((*architectures)[0] != family.architecture) continue;
    ASSIGN_OR_RETURN(const std::string type, fields.StringOr("model_type", family.model_type));
    if (type == family.model_type) return family;
    return fields.Unsupported(
        "model_type",
        absl::StrCat("only \"", family.model_type, "\" is supported for ", family.architecture));
  }
  return fields.Unsupported("architectures",
                            absl::StrCat("only ", absl::StrJoin(names, ", "), " are supported"));
}

absl::Status ReadFamilyFields(const ModelFamily& family, const JsonFields& fields,
                              ModelConfig& config) {
  RETURN_IF_ERROR(CheckUnsupported(family, fields));
  if (family.reads_attention_bias) {
    ASSIGN_OR_RETURN(config.attention_output_bias, fields.BoolOr("attention_bias", false));
  }
  if (family.reads_mlp_bias) {
    ASSIGN_OR_RETURN(config.mlp_bias, fields.BoolOr("mlp_bias", false));
  }
  config.query_key_value_bias = family.query_key_value_bias || config.attention_output_bias;
  config.query_key_norm = family.query_key_norm;
  config.fused_projections = family.fused_projections;
  ASSIGN_OR_RETURN(config.windows, Windows(family, fields, config.layers));
  return absl::OkStatus();
}

}  // namespace kvp

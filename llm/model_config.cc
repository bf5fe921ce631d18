#include "llm/model_config.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "llm/json_fields.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

// Far above every model's, and small enough that no product of two of them overflows.
constexpr int64_t kMaxSize = int64_t{1} << 30;
// LlamaConfig's own default, which old files leave out.
constexpr double kDefaultRopeTheta = 10000.0;

absl::Status CheckArchitecture(const JsonFields& fields, ModelConfig& config) {
  const Json* architectures = fields.Find("architectures");
  if (architectures == nullptr || !architectures->is_array() || architectures->size() != 1 ||
      !(*architectures)[0].is_string()) {
    return fields.Invalid("architectures", "a list of one name is needed");
  }
  config.architecture = (*architectures)[0].get<std::string>();
  if (config.architecture != "LlamaForCausalLM") {
    return fields.Unsupported("architectures", "only LlamaForCausalLM is supported");
  }
  ASSIGN_OR_RETURN(const std::string model_type, fields.StringOr("model_type", "llama"));
  if (model_type != "llama") {
    return fields.Unsupported("model_type", "only \"llama\" is supported");
  }
  return absl::OkStatus();
}

// Fields that would change the maths and that the decoder doesn't implement.
absl::Status CheckUnsupported(const JsonFields& fields) {
  for (const char* name : {"rope_scaling", "sliding_window", "quantization_config"}) {
    if (fields.has(name)) return fields.Unsupported(name, "only null is supported");
  }
  for (const char* name :
       {"attention_bias", "mlp_bias", "rope_interleaved", "use_sliding_window"}) {
    ASSIGN_OR_RETURN(const bool value, fields.BoolOr(name, false));
    if (value) return fields.Unsupported(name, "only false is supported");
  }
  ASSIGN_OR_RETURN(const std::string activation, fields.StringOr("hidden_act", "silu"));
  if (activation != "silu") {
    return fields.Unsupported("hidden_act", "only \"silu\" is supported");
  }
  if (fields.has("partial_rotary_factor")) {
    ASSIGN_OR_RETURN(const double factor, fields.Number("partial_rotary_factor"));
    if (factor != 1.0) return fields.Unsupported("partial_rotary_factor", "only 1 is supported");
  }
  if (const Json* types = fields.Find("layer_types"); types != nullptr) {
    const bool full = types->is_array() && std::all_of(types->begin(), types->end(), [](auto& t) {
                        return t == "full_attention";
                      });
    if (!full) return fields.Unsupported("layer_types", "only \"full_attention\" is supported");
  }
  return absl::OkStatus();
}

// rope_theta stands at the top, or, in files of transformers 5, in rope_parameters.
absl::StatusOr<double> RopeTheta(const JsonFields& fields, const std::string& path) {
  double theta = kDefaultRopeTheta;
  if (fields.has("rope_theta")) {
    ASSIGN_OR_RETURN(theta, fields.Number("rope_theta"));
    if (theta <= 0) return fields.Invalid("rope_theta", "must be positive");
  }
  const Json* parameters = fields.Find("rope_parameters");
  if (parameters == nullptr) return theta;
  if (!parameters->is_object()) return fields.Invalid("rope_parameters", "an object is needed");
  const JsonFields rope(*parameters, path, "rope_parameters.");
  ASSIGN_OR_RETURN(const std::string type, rope.StringOr("rope_type", "default"));
  if (type != "default") return rope.Unsupported("rope_type", "only \"default\" is supported");
  if (rope.has("partial_rotary_factor")) {
    ASSIGN_OR_RETURN(const double factor, rope.Number("partial_rotary_factor"));
    if (factor != 1.0) return rope.Unsupported("partial_rotary_factor", "only 1 is supported");
  }
  if (rope.has("rope_theta")) {
    ASSIGN_OR_RETURN(theta, rope.Number("rope_theta"));
    if (theta <= 0) return rope.Invalid("rope_theta", "must be positive");
  }
  return theta;
}

// The dtype of the file's tensors stands in the file itself: here only nonsense is refused.
absl::Status CheckDtype(const JsonFields& fields) {
  for (const char* name : {"torch_dtype", "dtype"}) {
    ASSIGN_OR_RETURN(const std::string dtype, fields.StringOr(name, "float32"));
    if (dtype != "float32" && dtype != "float16" && dtype != "bfloat16") {
      return fields.Unsupported(name, "only float32, float16 and bfloat16 are supported");
    }
  }
  return absl::OkStatus();
}

// Adds eos_token_id, an id or a list of ids, to config.eos_token_ids.
absl::Status AddEndTokens(const JsonFields& fields, ModelConfig& config) {
  const Json* value = fields.Find("eos_token_id");
  if (value == nullptr) return absl::OkStatus();
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_unsigned() ||
        id.get<uint64_t>() >= static_cast<uint64_t>(config.vocab_size)) {
      return fields.Invalid("eos_token_id", absl::StrCat("an id or a list of ids in [0, ",
                                                         config.vocab_size, ") is needed"));
    }
    const int64_t token = id.get<int64_t>();
    if (std::find(config.eos_token_ids.begin(), config.eos_token_ids.end(), token) ==
        config.eos_token_ids.end()) {
      config.eos_token_ids.push_back(token);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, path));
  const JsonFields fields(json, path);
  ModelConfig config;
  RETURN_IF_ERROR(CheckArchitecture(fields, config));
  RETURN_IF_ERROR(CheckUnsupported(fields));
  RETURN_IF_ERROR(CheckDtype(fields));
  ASSIGN_OR_RETURN(config.vocab_size, fields.Integer("vocab_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.hidden_size, fields.Integer("hidden_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.intermediate_size, fields.Integer("intermediate_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.layers, fields.Integer("num_hidden_layers", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.query_heads, fields.Integer("num_attention_heads", 1, kMaxSize));
  config.kv_heads = config.query_heads;
  if (fields.has("num_key_value_heads")) {
    ASSIGN_OR_RETURN(config.kv_heads, fields.Integer("num_key_value_heads", 1, kMaxSize));
  }
  if (config.query_heads % config.kv_heads != 0) {
    return fields.Invalid("num_key_value_heads",
                          absl::StrCat("must divide num_attention_heads, ", config.query_heads));
  }
  if (fields.has("head_dim")) {
    ASSIGN_OR_RETURN(config.head_dim, fields.Integer("head_dim", 1, kMaxSize));
  } else if (config.hidden_size % config.query_heads != 0) {
    return fields.Invalid("hidden_size",
                          absl::StrCat("must be a multiple of num_attention_heads, ",
                                       config.query_heads, ", where head_dim is missing"));
  } else {
    config.head_dim = config.hidden_size / config.query_heads;
  }
  if (config.head_dim % 2 != 0) {
    return fields.Invalid(fields.has("head_dim") ? "head_dim" : "hidden_size",
                          absl::StrCat("heads have dimension ", config.head_dim,
                                       ", but rotary positions need an even one"));
  }
  ASSIGN_OR_RETURN(config.max_positions, fields.Integer("max_position_embeddings", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.rms_norm_eps, fields.Number("rms_norm_eps"));
  if (config.rms_norm_eps < 0) return fields.Invalid("rms_norm_eps", "must not be negative");
  ASSIGN_OR_RETURN(config.rope_theta, RopeTheta(fields, path));
  ASSIGN_OR_RETURN(config.tie_word_embeddings, fields.BoolOr("tie_word_embeddings", false));
  RETURN_IF_ERROR(AddEndTokens(fields, config));
  if (fields.has("bos_token_id")) {
    ASSIGN_OR_RETURN(config.bos_token_id, fields.Integer("bos_token_id", 0, config.vocab_size - 1));
  }
  return config;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(ModelConfig config, ParseModelConfig(text, path));

  const std::string generation_path = absl::StrCat(directory, "/generation_config.json");
  const absl::StatusOr<std::string> generation = ReadFile(generation_path);
  if (absl::IsNotFound(generation.status())) return config;
  RETURN_IF_ERROR(generation.status());
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(*generation, generation_path));
  RETURN_IF_ERROR(AddEndTokens(JsonFields(json, generation_path), config));
  return config;
}

}  // namespace kvp

#include "llm/model_config.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "llm/json_fields.h"
#include "llm/model_family.h"
#include "llm/rope_config.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

// Far above every model's, and small enough that no product of two of them overflows.
constexpr int64_t kMaxSize = int64_t{1} << 30;
constexpr int64_t kMaxLayers = 100000;
constexpr size_t kMaxEndTokens = 1000;

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
  if (list.size() > kMaxEndTokens) {
    return fields.Invalid("eos_token_id", absl::StrCat("more than ", kMaxEndTokens, " ids"));
  }
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

absl::Status ReadHeads(const ModelFamily& family, const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.query_heads, fields.Integer("num_attention_heads", 1, kMaxSize));
  config.kv_heads = config.query_heads;
  // Where it is null, it is as many as query heads in every family.
  if (fields.has("num_key_value_heads") ||
      (!fields.mentions("num_key_value_heads") && !family.kv_heads_default_to_query_heads)) {
    ASSIGN_OR_RETURN(config.kv_heads, fields.Integer("num_key_value_heads", 1, kMaxSize));
  }
  if (config.query_heads % config.kv_heads != 0) {
    return fields.Invalid("num_key_value_heads",
                          absl::StrCat("must divide num_attention_heads, ", config.query_heads));
  }
  if (fields.has("head_dim")) {
    ASSIGN_OR_RETURN(config.head_dim, fields.Integer("head_dim", 1, kMaxSize));
  } else if (family.default_head_dim > 0) {
    config.head_dim = family.default_head_dim;
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
  return absl::OkStatus();
}

absl::Status ReadSizes(const ModelFamily& family, const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.vocab_size, fields.Integer("vocab_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.hidden_size, fields.Integer("hidden_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.intermediate_size, fields.Integer("intermediate_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.layers, fields.Integer("num_hidden_layers", 1, kMaxLayers));
  RETURN_IF_ERROR(ReadHeads(family, fields, config));
  ASSIGN_OR_RETURN(config.max_positions, fields.Integer("max_position_embeddings", 1, kMaxSize));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, path));
  const JsonFields fields(json, path);
  ASSIGN_OR_RETURN(const ModelFamily family, FamilyOf(fields));
  ModelConfig config;
  config.architecture = family.architecture;
  RETURN_IF_ERROR(ReadSizes(family, fields, config));
  RETURN_IF_ERROR(CheckDtype(fields));
  RETURN_IF_ERROR(ReadFamilyFields(family, fields, config));
  ASSIGN_OR_RETURN(config.rms_norm_eps, fields.Number("rms_norm_eps"));
  if (config.rms_norm_eps < 0) return fields.Invalid("rms_norm_eps", "must not be negative");
  const RopeContext context{config.head_dim, config.max_positions, family.fused_projections};
  ASSIGN_OR_RETURN(config.rope, ParseRopeConfig(fields, context));
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

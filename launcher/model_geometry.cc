#include "launcher/model_geometry.h"

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::StatusOr<int32_t> Count(const nlohmann::json& config, const std::string& field,
                              const std::string& path) {
  const auto found = config.find(field);
  if (found == config.end()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", field, ": is missing"));
  }
  if (!found->is_number_integer() || *found < 1 || *found > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", field, ": ", found->dump(), " is no positive integer"));
  }
  return found->get<int32_t>();
}

}  // namespace

absl::StatusOr<ModelGeometry> ReadModelGeometry(const std::string& model_dir) {
  const std::string path = model_dir + "/config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(const nlohmann::json config, ParseJson(text, path));
  if (!config.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": isn't a JSON object"));
  }
  ModelGeometry geometry;
  ASSIGN_OR_RETURN(geometry.layers, Count(config, "num_hidden_layers", path));
  // Without grouped queries the format leaves the number of KV heads out.
  const bool grouped = config.contains("num_key_value_heads");
  ASSIGN_OR_RETURN(geometry.kv_heads,
                   Count(config, grouped ? "num_key_value_heads" : "num_attention_heads", path));
  if (config.contains("head_dim") && !config["head_dim"].is_null()) {
    ASSIGN_OR_RETURN(geometry.head_dim, Count(config, "head_dim", path));
  } else if (config.contains("hidden_size") && config.contains("num_attention_heads")) {
    ASSIGN_OR_RETURN(const int32_t hidden, Count(config, "hidden_size", path));
    ASSIGN_OR_RETURN(const int32_t heads, Count(config, "num_attention_heads", path));
    geometry.head_dim = hidden / heads;
  }
  if (config.contains("max_position_embeddings")) {
    ASSIGN_OR_RETURN(geometry.max_positions, Count(config, "max_position_embeddings", path));
  }
  return geometry;
}

}  // namespace kvp

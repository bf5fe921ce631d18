#include "llm/rope_config.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxLength = int64_t{1} << 30;
// Phi3Config's own default, which files may leave out.
constexpr int64_t kPhi3OriginalMaxPositions = 4096;
constexpr const char* kOriginalMaxPositions = "original_max_position_embeddings";

constexpr const char* kTypesSupported =
    "only default, linear, llama3, yarn and longrope (su) are supported";

// The fields that each type may have beside those that all may have.
const std::map<RopeType, std::vector<std::string>>& FieldsOfTypes() {
  static const auto* const fields = new std::map<RopeType, std::vector<std::string>>{
      {RopeType::kDefault, {}},
      {RopeType::kLinear, {}},
      {RopeType::kLlama3, {"low_freq_factor", "high_freq_factor"}},
      {RopeType::kYarn,
       {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"}},
      {RopeType::kLongRope, {"attention_factor", "short_factor", "long_factor"}}};
  return *fields;
}

// The rope_scaling or rope_parameters of a model, which may be empty, and what they leave to the
// config itself.
class RopeParser {
 public:
  RopeParser(const JsonFields& config, JsonFields own, const RopeContext& context)
      : config_(config), own_(std::move(own)), context_(context) {}

  absl::StatusOr<RopeConfig> Parse() {
    RETURN_IF_ERROR(ReadType());
    RETURN_IF_ERROR(CheckFields());
    RETURN_IF_ERROR(ReadTheta());
    RETURN_IF_ERROR(ReadRotaryDim());
    switch (rope_.type) {
      case RopeType::kDefault:
        break;
      case RopeType::kLinear:
        RETURN_IF_ERROR(ReadPositive("factor", rope_.factor));
        break;
      case RopeType::kLlama3:
        RETURN_IF_ERROR(ReadLlama3());
        break;
      case RopeType::kYarn:
        RETURN_IF_ERROR(ReadYarn());
        break;
      case RopeType::kLongRope:
        RETURN_IF_ERROR(ReadLongRope());
        break;
    }
    return rope_;
  }

 private:
  absl::Status ReadType() {
    // Older files say "type"; some have both, for readers of either.
    const char* name = own_.has("rope_type") ? "rope_type" : "type";
    if (!own_.has(name)) {
      if (own_.has("factor")) return own_.Invalid("rope_type", "the type of scaling is needed");
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::string text, own_.String(name));
    const std::map<std::string, RopeType> types = {
        {"default", RopeType::kDefault},   {"linear", RopeType::kLinear},
        {"llama3", RopeType::kLlama3},     {"yarn", RopeType::kYarn},
        {"longrope", RopeType::kLongRope}, {"su", RopeType::kLongRope}};
    const auto found = types.find(text);
    if (found == types.end()) return own_.Unsupported(name, kTypesSupported);
    rope_.type = found->second;
    if (own_.has("rope_type") && own_.has("type")) {
      ASSIGN_OR_RETURN(const std::string older, own_.String("type"));
      const auto other = types.find(older);
      if (other == types.end() || other->second != rope_.type) {
        return own_.Invalid("type", absl::StrCat("contradicts rope_type, \"", text, "\""));
      }
    }
    if (context_.phi3 && rope_.type != RopeType::kDefault && rope_.type != RopeType::kLongRope) {
      return own_.Unsupported(name, "Phi-3 has default and longrope (su) only");
    }
    return absl::OkStatus();
  }

  // A field that isn't known might change the maths.
  absl::Status CheckFields() const {
    const std::vector<std::string> common = {"type",       "rope_type",
                                             "rope_theta", "partial_rotary_factor",
                                             "factor",     kOriginalMaxPositions};
    const std::vector<std::string>& special = FieldsOfTypes().at(rope_.type);
    for (const auto& [name, value] : own_.object().items()) {
      if (value.is_null() || std::find(common.begin(), common.end(), name) != common.end() ||
          std::find(special.begin(), special.end(), name) != special.end()) {
        continue;
      }
      return own_.Unsupported(name.c_str(), "isn't known for this type of rotary positions");
    }
    return absl::OkStatus();
  }

  // Where a field stands that either object may have.
  const JsonFields& Holder(const char* name) const { return own_.has(name) ? own_ : config_; }

  absl::Status ReadTheta() {
    const JsonFields& holder = Holder("rope_theta");
    ASSIGN_OR_RETURN(rope_.theta, holder.NumberOr("rope_theta", rope_.theta));
    if (rope_.theta <= 0) return holder.Invalid("rope_theta", "must be positive");
    if (rope_.type == RopeType::kYarn && rope_.theta <= 1) {
      return holder.Invalid("rope_theta", "must be above 1 for yarn");
    }
    return absl::OkStatus();
  }

  absl::Status ReadRotaryDim() {
    const char* const name = "partial_rotary_factor";
    const JsonFields& holder = Holder(name);
    ASSIGN_OR_RETURN(const double factor, holder.NumberOr(name, 1));
    if (!(factor > 0 && factor <= 1)) return holder.Invalid(name, "must be in (0, 1]");
    if (factor != 1 && !context_.phi3) {
      return holder.Unsupported(name, "only 1 is supported for this architecture");
    }
    rope_.rotary_dim = static_cast<int64_t>(static_cast<double>(context_.head_dim) * factor);
    if (rope_.rotary_dim < 2 || rope_.rotary_dim % 2 != 0) {
      return holder.Invalid(
          name, absl::StrCat("rotates ", rope_.rotary_dim, " of the ", context_.head_dim,
                             " numbers of a head, but an even number is needed"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadPositive(const char* name, double& value) const {
    ASSIGN_OR_RETURN(value, own_.Number(name));
    if (value <= 0) return own_.Invalid(name, "must be positive");
    return absl::OkStatus();
  }

  absl::Status ReadPositiveIfThere(const char* name, double& value) const {
    return own_.has(name) ? ReadPositive(name, value) : absl::OkStatus();
  }

  // Of this object, else of the config; `otherwise` where neither has it, 0 being an error.
  absl::Status ReadOriginalMaxPositions(int64_t otherwise) {
    if (own_.has(kOriginalMaxPositions) && config_.has(kOriginalMaxPositions) &&
        *own_.Find(kOriginalMaxPositions) != *config_.Find(kOriginalMaxPositions)) {
      return own_.Invalid(kOriginalMaxPositions, "contradicts the one outside");
    }
    const JsonFields& holder = Holder(kOriginalMaxPositions);
    if (!holder.has(kOriginalMaxPositions) && otherwise > 0) {
      rope_.original_max_positions = otherwise;
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(rope_.original_max_positions,
                     holder.Integer(kOriginalMaxPositions, 2, kMaxLength));
    return absl::OkStatus();
  }

  double ExtensionRatio() const {
    return static_cast<double>(context_.max_positions) /
           static_cast<double>(rope_.original_max_positions);
  }

  absl::Status ReadLlama3() {
    RETURN_IF_ERROR(ReadPositive("factor", rope_.factor));
    RETURN_IF_ERROR(ReadPositive("low_freq_factor", rope_.low_freq_factor));
    RETURN_IF_ERROR(ReadPositive("high_freq_factor", rope_.high_freq_factor));
    if (rope_.high_freq_factor <= rope_.low_freq_factor) {
      return own_.Invalid("high_freq_factor",
                          absl::StrCat("must be above low_freq_factor, ", rope_.low_freq_factor));
    }
    return ReadOriginalMaxPositions(0);
  }

  absl::Status ReadYarn() {
    RETURN_IF_ERROR(ReadOriginalMaxPositions(context_.max_positions));
    rope_.factor = ExtensionRatio();
    RETURN_IF_ERROR(ReadPositiveIfThere("factor", rope_.factor));
    RETURN_IF_ERROR(ReadPositiveIfThere("beta_fast", rope_.beta_fast));
    RETURN_IF_ERROR(ReadPositiveIfThere("beta_slow", rope_.beta_slow));
    ASSIGN_OR_RETURN(rope_.truncate, own_.BoolOr("truncate", true));
    ASSIGN_OR_RETURN(const double mscale, own_.NumberOr("mscale", 0));
    ASSIGN_OR_RETURN(const double mscale_all_dim, own_.NumberOr("mscale_all_dim", 0));
    const double growth = rope_.factor > 1 ? 0.1 * std::log(rope_.factor) : 0;
    rope_.attention_factor = mscale != 0 && mscale_all_dim != 0
                                 ? (mscale * growth + 1) / (mscale_all_dim * growth + 1)
                                 : growth + 1;
    return ReadPositiveIfThere("attention_factor", rope_.attention_factor);
  }

  absl::Status ReadLongRope() {
    RETURN_IF_ERROR(ReadOriginalMaxPositions(context_.phi3 ? kPhi3OriginalMaxPositions : 0));
    RETURN_IF_ERROR(ReadFactors("short_factor", rope_.short_factors));
    RETURN_IF_ERROR(ReadFactors("long_factor", rope_.long_factors));
    const double ratio = ExtensionRatio();
    double factor = ratio;
    RETURN_IF_ERROR(ReadPositiveIfThere("factor", factor));
    if (!own_.has("attention_factor") && factor != ratio) {
      // Versions of transformers differ on which of the two counts.
      return own_.Unsupported(
          "factor", absl::StrCat("only max_position_embeddings / ", kOriginalMaxPositions, ", ",
                                 ratio, ", is supported, or an attention_factor beside it"));
    }
    if (ratio > 1) {
      const double original = static_cast<double>(rope_.original_max_positions);
      rope_.attention_factor = std::sqrt(1 + std::log(ratio) / std::log(original));
    }
    return ReadPositiveIfThere("attention_factor", rope_.attention_factor);
  }

  absl::Status ReadFactors(const char* name, std::vector<double>& factors) const {
    ASSIGN_OR_RETURN(factors, own_.Numbers(name));
    const size_t pairs = static_cast<size_t>(rope_.rotary_dim / 2);
    if (factors.size() != pairs ||
        std::any_of(factors.begin(), factors.end(), [](double factor) { return factor <= 0; })) {
      return own_.Invalid(
          name, absl::StrCat(pairs, " positive factors are needed, one for each ", "rotated pair"));
    }
    return absl::OkStatus();
  }

  const JsonFields& config_;
  const JsonFields own_;
  const RopeContext context_;
  RopeConfig rope_;
};

// Files of transformers 5 may give an object for each type of layer: one that is the same for all
// is that one.
absl::StatusOr<JsonFields> WithoutLayerTypes(const JsonFields& config, const char* name) {
  ASSIGN_OR_RETURN(JsonFields fields, config.Object(name));
  const Json& object = fields.object();
  if (object.empty() || !std::all_of(object.begin(), object.end(),
                                     [](const Json& value) { return value.is_object(); })) {
    return fields;
  }
  const Json& first = *object.begin();
  if (!std::all_of(object.begin(), object.end(), [&](const Json& own) { return own == first; })) {
    return config.Unsupported(name, "positions that differ by the type of layer aren't supported");
  }
  return fields.Object(object.begin().key().c_str());
}

}  // namespace

absl::StatusOr<RopeConfig> ParseRopeConfig(const JsonFields& config, const RopeContext& context) {
  const bool older = config.has("rope_scaling");
  if (older && config.has("rope_parameters") &&
      *config.Find("rope_scaling") != *config.Find("rope_parameters")) {
    return config.Invalid("rope_parameters", "contradicts rope_scaling");
  }
  const char* const name = older ? "rope_scaling" : "rope_parameters";
  if (!config.has(name)) {
    static const Json* const none = new Json(Json::object());
    return RopeParser(config, JsonFields(*none, ""), context).Parse();
  }
  ASSIGN_OR_RETURN(JsonFields own, WithoutLayerTypes(config, name));
  return RopeParser(config, std::move(own), context).Parse();
}

}  // namespace kvp

#include "llm/json_fields.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

// Messages stay one readable line, however large the value.
constexpr size_t kMaxValueBytes = 100;
}  // namespace

absl::StatusOr<Json> ParseJsonObject(absl::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(Json json, ParseJson(text, path));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is a JSON ", json.type_name(), ", not an object"));
  }
  return json;
}

const Json* JsonFields::Find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::string JsonFields::Describe(const char* name) const {
  const auto found = object_.find(name);
  const std::string text = absl::StrCat(path_, ": ", prefix_, name, " is ");
  if (found == object_.end()) return absl::StrCat(text, "missing");
  return absl::StrCat(text, Excerpt(found->dump(), kMaxValueBytes));
}

absl::Status JsonFields::Invalid(const char* name, absl::string_view reason) const {
  return absl::InvalidArgumentError(absl::StrCat(Describe(name), ": ", reason));
}

absl::Status JsonFields::Unsupported(const char* name, absl::string_view reason) const {
  return absl::UnimplementedError(absl::StrCat(Describe(name), ": ", reason));
}

absl::StatusOr<int64_t> JsonFields::Integer(const char* name, int64_t minimum,
                                            int64_t maximum) const {
  const Json* value = Find(name);
  if (value == nullptr || !value->is_number_integer()) {
    return Invalid(name, "an integer is needed");
  }
  const bool fits = !value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX;
  const int64_t integer = fits ? value->get<int64_t>() : 0;
  if (!fits || integer < minimum || integer > maximum) {
    return Invalid(name, absl::StrCat("must be in [", minimum, ", ", maximum, "]"));
  }
  return integer;
}

absl::StatusOr<double> JsonFields::Number(const char* name) const {
  const Json* value = Find(name);
  if (value == nullptr || !value->is_number() || !std::isfinite(value->get<double>())) {
    return Invalid(name, "a number is needed");
  }
  return value->get<double>();
}

absl::StatusOr<bool> JsonFields::Bool(const char* name) const {
  const Json* value = Find(name);
  if (value == nullptr || !value->is_boolean()) return Invalid(name, "true or false is needed");
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::String(const char* name) const {
  const Json* value = Find(name);
  if (value == nullptr || !value->is_string()) return Invalid(name, "a string is needed");
  return value->get<std::string>();
}

absl::StatusOr<std::vector<double>> JsonFields::Numbers(const char* name) const {
  const Json* value = Find(name);
  const auto is_number = [](const Json& element) {
    return element.is_number() && std::isfinite(element.get<double>());
  };
  if (value == nullptr || !value->is_array() ||
      !std::all_of(value->begin(), value->end(), is_number)) {
    return Invalid(name, "a list of numbers is needed");
  }
  return value->get<std::vector<double>>();
}

absl::StatusOr<JsonFields> JsonFields::Object(const char* name) const {
  const Json* value = Find(name);
  if (value == nullptr || !value->is_object()) return Invalid(name, "an object is needed");
  return JsonFields(*value, path_, absl::StrCat(prefix_, name, "."));
}

absl::StatusOr<double> JsonFields::NumberOr(const char* name, double value) const {
  if (!has(name)) return value;
  return Number(name);
}

absl::StatusOr<bool> JsonFields::BoolOr(const char* name, bool value) const {
  if (!has(name)) return value;
  return Bool(name);
}

absl::StatusOr<std::string> JsonFields::StringOr(const char* name, const std::string& value) const {
  if (!has(name)) return value;
  return String(name);
}

}  // namespace kvp

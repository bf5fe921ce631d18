#include "llm/tasks/json_lines.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "util/line_reader.h"
#include "util/status_macros.h"

namespace kvp {

absl::Status ForEachJsonLine(const std::string& path,
                             const std::function<absl::Status(const nlohmann::json& object,
                                                              const std::string& place)>& visit) {
  bool any = false;
  RETURN_IF_ERROR(ForEachLine(path, [&](absl::string_view line, int64_t number) -> absl::Status {
    const std::string place = absl::StrCat(path, ":", number);
    ASSIGN_OR_RETURN(const nlohmann::json object, ParseJsonObject(line, place));
    any = true;
    return visit(object, place);
  }));
  if (any) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": no lines in the file"));
}

absl::StatusOr<std::string> NonEmptyString(const JsonFields& fields, const char* name) {
  ASSIGN_OR_RETURN(std::string text, fields.String(name));
  if (text.empty()) return fields.Invalid(name, "it must not be empty");
  return text;
}

absl::StatusOr<std::vector<std::string>> NonEmptyStrings(const JsonFields& fields,
                                                         const char* name) {
  const nlohmann::json* array = fields.Find(name);
  const auto is_text = [](const nlohmann::json& value) {
    return value.is_string() && !value.get_ref<const std::string&>().empty();
  };
  if (array == nullptr || !array->is_array() || array->empty() ||
      !std::all_of(array->begin(), array->end(), is_text)) {
    return fields.Invalid(name, "an array of strings is needed, at least one, none empty");
  }
  return array->get<std::vector<std::string>>();
}

absl::StatusOr<const nlohmann::json*> ObjectArray(const JsonFields& fields, const char* name) {
  const nlohmann::json* array = fields.Find(name);
  if (array == nullptr || !array->is_array() || array->empty() ||
      !std::all_of(array->begin(), array->end(),
                   [](const nlohmann::json& value) { return value.is_object(); })) {
    return fields.Invalid(name, "an array of objects is needed, at least one");
  }
  return array;
}

}  // namespace kvp

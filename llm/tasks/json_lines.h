// Files of one JSON object a line, plain or compressed with gzip.

#ifndef KVP_LLM_TASKS_JSON_LINES_H_
#define KVP_LLM_TASKS_JSON_LINES_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llm/json_fields.h"
#include "nlohmann/json.hpp"

namespace kvp {

// Calls `visit(object, place)` for every line that isn't blank; `place` is "FILE:LINE". Errors as
// of ForEachLine (util/line_reader.h); INVALID_ARGUMENT with the place for a line that is no JSON
// object, and with the file for one without any.
absl::Status ForEachJsonLine(const std::string& path,
                             const std::function<absl::Status(const nlohmann::json& object,
                                                              const std::string& place)>& visit);

// A field that must be a string with something in it.
absl::StatusOr<std::string> NonEmptyString(const JsonFields& fields, const char* name);

// A field that must be an array of strings, at least one, none empty.
absl::StatusOr<std::vector<std::string>> NonEmptyStrings(const JsonFields& fields,
                                                         const char* name);

// The elements of an array of objects; INVALID_ARGUMENT where the field is anything else or empty.
absl::StatusOr<const nlohmann::json*> ObjectArray(const JsonFields& fields, const char* name);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_JSON_LINES_H_

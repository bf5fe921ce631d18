// JSON that came from outside: how it is parsed and shown.

#ifndef KVP_UTIL_JSON_TEXT_H_
#define KVP_UTIL_JSON_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace kvp {

// The value that `text` is. INVALID_ARGUMENT, naming `path`, where it is no JSON, has a number
// that no double holds, or is nested deeper than a thousand levels: printing and walking a value
// takes stack for each. Every text that the program didn't write itself is to be parsed by this.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view path);
// As ParseJson; an object's members keep their order.
absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(absl::string_view text,
                                                        absl::string_view path);

// `text` for a message: what is longer than `max_bytes` is cut there, between UTF-8 characters, and
// ends with "…".
std::string Excerpt(absl::string_view text, size_t max_bytes);

}  // namespace kvp

#endif  // KVP_UTIL_JSON_TEXT_H_

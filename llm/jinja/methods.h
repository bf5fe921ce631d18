// Methods of strings and dicts, as Python's.

#ifndef KVP_LLM_JINJA_METHODS_H_
#define KVP_LLM_JINJA_METHODS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/jinja/value.h"

namespace kvp::jinja {

// The method as a function, or undefined.
Value FindMethod(const Value& value, const std::string& name);

// Where `part` begins in `text`, from `begin` on; npos where it doesn't. In linear time.
size_t FindText(absl::string_view text, absl::string_view part, size_t begin = 0);

// What filters share with methods. With `characters` null, white space is stripped.
std::string Strip(absl::string_view text, const std::string* characters, bool left, bool right);
// Letters of any script, one by one.
std::string Upper(absl::string_view text);
std::string Lower(absl::string_view text);
std::string Capitalized(absl::string_view text);
// Every word's first letter large, the others small.
std::string Title(absl::string_view text);
// `count` < 0: all. INVALID_ARGUMENT for an empty `from`; RESOURCE_EXHAUSTED for a text that gets
// too long.
absl::StatusOr<std::string> Replaced(absl::string_view text, absl::string_view from,
                                     absl::string_view to, int64_t count);
// The texts of a list's members; RESOURCE_EXHAUSTED as above.
absl::StatusOr<std::string> Joined(const Value& list, absl::string_view separator);
List Items(const Dict& dict);

}  // namespace kvp::jinja

#endif  // KVP_LLM_JINJA_METHODS_H_

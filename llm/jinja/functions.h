// Filters, tests, methods and functions of the template language.

#ifndef KVP_LLM_JINJA_FUNCTIONS_H_
#define KVP_LLM_JINJA_FUNCTIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/jinja/value.h"

namespace kvp::jinja {

// `value | name(arguments)`, `value is name(arguments)`, and the binary operators but "and" and
// "or". UNIMPLEMENTED for what isn't supported; INVALID_ARGUMENT where the arguments are wrong.
absl::StatusOr<Value> ApplyFilter(const std::string& name, const Value& value,
                                  const Arguments& arguments);
absl::StatusOr<bool> ApplyTest(const std::string& name, const Value& value,
                               const Arguments& arguments);
absl::StatusOr<Value> ApplyOperator(const std::string& name, const Value& left, const Value& right);

// `value.name`: a method, or a member; undefined where there is neither. INVALID_ARGUMENT where
// `value` is undefined itself.
absl::StatusOr<Value> Member(const Value& value, const std::string& name);
// `value[index]` and `value[begin:end:step]`, where bounds that are none are left out.
absl::StatusOr<Value> Subscript(const Value& value, const Value& index);
absl::StatusOr<Value> Slice(const Value& value, const Value& begin, const Value& end,
                            const Value& step);

// What templates can call: range, namespace, dict and raise_exception, whose message becomes an
// INVALID_ARGUMENT.
Dict GlobalFunctions();

}  // namespace kvp::jinja

#endif  // KVP_LLM_JINJA_FUNCTIONS_H_

// What a rendering may still take: memory and time, both counted in bytes that are made or looked
// at.

#ifndef KVP_LLM_JINJA_BUDGET_H_
#define KVP_LLM_JINJA_BUDGET_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "llm/jinja/value.h"

namespace kvp::jinja {

// Everything is RESOURCE_EXHAUSTED where it takes more than is left, unless noted.
class Budget {
 public:
  explicit Budget(int64_t bytes) : left_(bytes) {}

  absl::Status Take(int64_t bytes);
  // A statement or an expression.
  absl::Status TakeStep();
  // A look for a name among `names`. Told by the next call.
  void TakeNames(size_t names);

  // A value that an operation has made; also where it is too large or lists in it are too deep.
  // UNIMPLEMENTED for a list or dict that isn't plain.
  absl::Status TakeMade(const Value& value);
  // A copy of a value that is there.
  absl::Status TakeCopied(const Value& value);
  // A value's text. UNIMPLEMENTED for a namespace.
  absl::Status TakeText(const Value& value);
  // A list's members, or a string's characters, as values of their own.
  absl::Status TakeMembers(const Value& value);
  // Beside the value that it makes.
  absl::Status TakeFilter(const std::string& name, const Value& value, const Arguments& arguments);
  absl::Status TakeTest(const Value& value, const Arguments& arguments);
  absl::Status TakeCall(const Value& callee, const Arguments& arguments);
  absl::Status TakeOperator(const std::string& name, const Value& left, const Value& right);

 private:
  int64_t left_;
};

}  // namespace kvp::jinja

#endif  // KVP_LLM_JINJA_BUDGET_H_

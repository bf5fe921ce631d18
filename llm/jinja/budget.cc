#include "llm/jinja/budget.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/string_view.h"
#include "util/status_macros.h"

namespace kvp::jinja {
namespace {

constexpr int64_t kStepBytes = 200;
constexpr int64_t kNameBytes = 8;
// A string's character as a string of its own; an argument.
constexpr int64_t kCharacterBytes = 80;
constexpr int64_t kArgumentBytes = 80;
// Of lists and dicts within each other.
constexpr int kMaxNesting = 100;

// Filters whose work doesn't depend on what the members of a list are.
bool LeavesMembersAlone(absl::string_view filter) {
  static constexpr absl::string_view kFilters[] = {"length", "count", "first", "last",    "default",
                                                   "d",      "list",  "items", "reverse", "safe"};
  return std::find(std::begin(kFilters), std::end(kFilters), filter) != std::end(kFilters);
}

// Filters that do something with their arguments for every member.
bool GoesThroughMembers(absl::string_view filter) {
  static constexpr absl::string_view kFilters[] = {"map",    "select",     "selectattr",
                                                   "reject", "rejectattr", "join"};
  return std::find(std::begin(kFilters), std::end(kFilters), filter) != std::end(kFilters);
}

int64_t WeightOf(const Arguments& arguments) {
  int64_t weight = 0;
  for (const Value& argument : arguments.positional) {
    weight += kArgumentBytes + argument.extent().weight;
  }
  for (const auto& [name, argument] : arguments.named.items()) {
    weight += kArgumentBytes + argument.extent().weight;
  }
  return weight;
}

}  // namespace

absl::Status Budget::Take(int64_t bytes) {
  left_ -= bytes;
  if (left_ < 0) return absl::ResourceExhaustedError("the template takes too long");
  return absl::OkStatus();
}

absl::Status Budget::TakeStep() { return Take(kStepBytes); }

void Budget::TakeNames(size_t names) { left_ -= kNameBytes * static_cast<int64_t>(names); }

absl::Status Budget::TakeMade(const Value& value) {
  const Extent extent = value.extent();
  RETURN_IF_ERROR(CheckValueBytes(extent.weight));
  if (extent.depth > kMaxNesting) {
    return absl::ResourceExhaustedError("lists within lists get too deep");
  }
  if (extent.depth > 0 && !extent.is_plain && value.As<Namespace>() == nullptr) {
    return absl::UnimplementedError("functions and namespaces in lists and dicts");
  }
  return Take(extent.copying);
}

absl::Status Budget::TakeCopied(const Value& value) {
  const bool has_text = value.is_string() || value.is_undefined();
  return has_text ? Take(value.extent().copying) : absl::OkStatus();
}

absl::Status Budget::TakeText(const Value& value) {
  if (value.As<Namespace>() != nullptr) return absl::UnimplementedError("a namespace as text");
  return Take(value.extent().weight);
}

absl::Status Budget::TakeMembers(const Value& value) {
  return Take(value.extent().copying * (value.is_string() ? kCharacterBytes : 1));
}

absl::Status Budget::TakeFilter(const std::string& name, const Value& value,
                                const Arguments& arguments) {
  const Extent extent = value.extent();
  if (value.is_string() && (name == "list" || name == "reverse")) return TakeMembers(value);
  if (LeavesMembersAlone(name)) return Take(extent.copying);
  const int64_t weight = WeightOf(arguments);
  if (!GoesThroughMembers(name)) return Take(extent.weight + weight);
  const int64_t members = 1 + extent.weight / (value.is_string() ? 1 : kCharacterBytes);
  return Take(extent.weight + members * (weight + kCharacterBytes));
}

absl::Status Budget::TakeTest(const Value& value, const Arguments& arguments) {
  // Only comparisons have arguments.
  const int64_t weight = WeightOf(arguments);
  return weight == 0 ? absl::OkStatus() : Take(weight + value.extent().weight);
}

absl::Status Budget::TakeCall(const Value& callee, const Arguments& arguments) {
  return Take(callee.extent().copying + WeightOf(arguments));
}

absl::Status Budget::TakeOperator(const std::string& name, const Value& left, const Value& right) {
  const Extent a = left.extent();
  const Extent b = right.extent();
  // Lists are put together without a look at what their members refer to.
  return Take(name == "+" ? a.copying + b.copying : a.weight + b.weight);
}

}  // namespace kvp::jinja

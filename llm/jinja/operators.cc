// Operators, members and slices.

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "llm/jinja/functions.h"
#include "llm/jinja/methods.h"
#include "llm/utf8.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp::jinja {
namespace {

// Of a string or list that an operator makes.
constexpr int64_t kMaxRepeated = int64_t{1} << 24;
constexpr size_t kMaxShownBytes = 100;

absl::Status WrongTypes(const std::string& name, const Value& left, const Value& right) {
  return absl::InvalidArgumentError(absl::StrCat("operator ", name, " doesn't take ",
                                                 left.TypeName(), " and ", right.TypeName()));
}

absl::StatusOr<bool> Contains(const Value& container, const Value& value) {
  if (const auto* text = container.As<std::string>()) {
    if (!value.is_string()) return WrongTypes("in", value, container);
    return FindText(*text, *value.As<std::string>()) != absl::string_view::npos;
  }
  if (const Dict* dict = container.AsDict()) {
    return value.is_string() && dict->Find(*value.As<std::string>()) != nullptr;
  }
  ASSIGN_OR_RETURN(const List members, Members(container));
  return std::find(members.begin(), members.end(), value) != members.end();
}

absl::StatusOr<bool> Less(const std::string& name, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) return left.Number() < right.Number();
  // Bytes of UTF-8 are in the order of their characters.
  if (left.is_string() && right.is_string()) {
    return *left.As<std::string>() < *right.As<std::string>();
  }
  return WrongTypes(name, left, right);
}

// Towards minus infinity, as Python divides.
int64_t FloorDivide(int64_t left, int64_t right) {
  const int64_t quotient = left / right;
  return left % right != 0 && (left < 0) != (right < 0) ? quotient - 1 : quotient;
}

absl::StatusOr<Value> IntegerArithmetic(char op, int64_t left, int64_t right) {
  int64_t result = 0;
  bool overflows = false;
  switch (op) {
    case '+':
      overflows = __builtin_add_overflow(left, right, &result);
      break;
    case '-':
      overflows = __builtin_sub_overflow(left, right, &result);
      break;
    case '*':
      overflows = __builtin_mul_overflow(left, right, &result);
      break;
    default:
      if (right == 0) return absl::InvalidArgumentError("division by zero");
      overflows = left == std::numeric_limits<int64_t>::min() && right == -1;
      if (!overflows) result = FloorDivide(left, right);
      if (!overflows && op == '%') result = left - result * right;
  }
  if (overflows) return absl::InvalidArgumentError("a number is too large");
  return result;
}

absl::StatusOr<Value> Arithmetic(const std::string& name, const Value& left, const Value& right) {
  const bool are_integers = !left.As<double>() && !right.As<double>();
  const double x = left.Number();
  const double y = right.Number();
  if (name == "**") return absl::UnimplementedError("operator ** isn't supported");
  if (name == "/") {
    if (y == 0) return absl::InvalidArgumentError("division by zero");
    return x / y;
  }
  if (are_integers) {
    const auto integer = [](const Value& value) {
      return value.As<bool>() ? int64_t{*value.As<bool>()} : *value.As<int64_t>();
    };
    return IntegerArithmetic(name == "//" ? '/' : name[0], integer(left), integer(right));
  }
  if (name == "+") return x + y;
  if (name == "-") return x - y;
  if (name == "*") return x * y;
  if (y == 0) return absl::InvalidArgumentError("division by zero");
  return name == "//" ? std::floor(x / y) : x - std::floor(x / y) * y;
}

absl::StatusOr<Value> Repeated(const std::string& text, int64_t count) {
  count = std::max<int64_t>(count, 0);
  if (count > 0 && static_cast<int64_t>(text.size()) > kMaxRepeated / count) {
    return absl::InvalidArgumentError("a repeated string is too long");
  }
  std::string result;
  for (int64_t i = 0; i < count; ++i) result += text;
  return result;
}

// Members of a list, or characters of a string.
int64_t SizeOf(const Value& value) {
  const auto* text = value.As<std::string>();
  return text != nullptr ? CharacterCount(*text) : static_cast<int64_t>(value.AsList()->size());
}

// The text's characters [begin, end), which it has.
absl::string_view Characters(absl::string_view text, int64_t begin, int64_t end) {
  for (int64_t i = 0; i < begin; ++i) text.remove_prefix(FirstCharacter(text).bytes);
  size_t bytes = 0;
  for (int64_t i = begin; i < end; ++i) bytes += FirstCharacter(text.substr(bytes)).bytes;
  return text.substr(0, bytes);
}

// A bound of a slice over `size` members, as Python clips it.
int64_t Clipped(int64_t bound, int64_t size, int64_t low, int64_t high) {
  if (bound < 0) bound += size;
  return std::clamp(bound, low, high);
}

}  // namespace

absl::StatusOr<Value> ApplyOperator(const std::string& name, const Value& left,
                                    const Value& right) {
  if (name == "==") return left == right;
  if (name == "!=") return !(left == right);
  if (name == "~") return absl::StrCat(left.Text(), right.Text());
  if (name == "in" || name == "not in") {
    ASSIGN_OR_RETURN(const bool contains, Contains(right, left));
    return contains == (name == "in");
  }
  if (name == "<") return Less(name, left, right);
  if (name == ">") return Less(name, right, left);
  if (name == "<=" || name == ">=") {
    ASSIGN_OR_RETURN(const bool less,
                     name == "<=" ? Less(name, left, right) : Less(name, right, left));
    return less || left == right;
  }
  if (left.is_number() && right.is_number()) return Arithmetic(name, left, right);
  if (name == "+" && left.is_string() && right.is_string()) {
    return absl::StrCat(*left.As<std::string>(), *right.As<std::string>());
  }
  if (name == "+" && left.AsList() != nullptr && right.AsList() != nullptr) {
    List both = *left.AsList();
    both.insert(both.end(), right.AsList()->begin(), right.AsList()->end());
    return Value(std::move(both));
  }
  if (name == "*" && left.is_string() && right.As<int64_t>()) {
    return Repeated(*left.As<std::string>(), *right.As<int64_t>());
  }
  return WrongTypes(name, left, right);
}

absl::StatusOr<Value> Member(const Value& value, const std::string& name) {
  if (value.is_undefined()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", value.As<Undefined>()->name, "\" is undefined: it has no ", name));
  }
  if (Value method = FindMethod(value, name); !method.is_undefined()) return method;
  if (const Dict* dict = value.AsDict()) {
    if (const Value* found = dict->Find(name)) return *found;
  }
  return Undefined{name};
}

absl::StatusOr<Value> Subscript(const Value& value, const Value& index) {
  if (const auto* name = index.As<std::string>()) {
    if (const Dict* dict = value.AsDict()) {
      if (const Value* found = dict->Find(*name)) return *found;
    }
    return Member(value, Excerpt(*name, kMaxShownBytes));
  }
  if (value.is_undefined()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", value.As<Undefined>()->name, "\" is undefined"));
  }
  const auto* place = index.As<int64_t>();
  const Value missing = Undefined{Excerpt(index.Text(), kMaxShownBytes)};
  const List* list = value.AsList();
  const auto* text = value.As<std::string>();
  if (place == nullptr || (list == nullptr && text == nullptr)) return missing;
  const int64_t size = SizeOf(value);
  const int64_t at = *place < 0 ? *place + size : *place;
  if (at < 0 || at >= size) return missing;
  if (list != nullptr) return (*list)[at];
  return Characters(*text, at, at + 1);
}

absl::StatusOr<Value> Slice(const Value& value, const Value& begin, const Value& end,
                            const Value& step) {
  if (value.AsList() == nullptr && !value.is_string()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a value of type ", value.TypeName(), " can't be sliced"));
  }
  for (const Value* bound : {&begin, &end, &step}) {
    if (!bound->is_none() && !bound->As<int64_t>()) {
      return absl::InvalidArgumentError("a slice's bounds must be integers");
    }
  }
  const int64_t stride = step.is_none() ? 1 : *step.As<int64_t>();
  if (stride == 0) return absl::InvalidArgumentError("a slice's step must not be 0");
  const auto* text = value.As<std::string>();
  const int64_t size = SizeOf(value);
  const int64_t low = stride > 0 ? 0 : -1;
  const int64_t high = stride > 0 ? size : size - 1;
  const int64_t first =
      begin.is_none() ? (stride > 0 ? low : high) : Clipped(*begin.As<int64_t>(), size, low, high);
  const int64_t last =
      end.is_none() ? (stride > 0 ? high : low) : Clipped(*end.As<int64_t>(), size, low, high);
  if (text != nullptr && stride == 1) return Characters(*text, first, std::max(first, last));
  ASSIGN_OR_RETURN(const List members, Members(value));
  List chosen;
  for (int64_t i = first; stride > 0 ? i < last : i > last; i += stride) {
    chosen.push_back(members[i]);
    if (stride > size || stride < -size) break;  // the next one would overflow
  }
  if (text == nullptr) return Value(std::move(chosen));
  std::string result;
  for (const Value& character : chosen) result += character.Text();
  return result;
}

}  // namespace kvp::jinja

// Filters, tests and functions.

#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "llm/jinja/functions.h"
#include "llm/jinja/methods.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox has it
constexpr int64_t kMaxIndent = 1000;
constexpr size_t kMaxShownBytes = 1000;

using Filter = absl::StatusOr<Value> (*)(const Value& value, const Arguments& arguments);
using Test = bool (*)(const Value& value);

// An argument by its place or its name; null where it is missing.
const Value* Find(const Arguments& arguments, size_t place, absl::string_view name) {
  if (place < arguments.positional.size()) return &arguments.positional[place];
  return arguments.named.Find(name);
}

absl::StatusOr<std::string> String(const Arguments& arguments, size_t place,
                                   absl::string_view name) {
  const Value* value = Find(arguments, place, name);
  if (value == nullptr || !value->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("argument ", name, " must be a string"));
  }
  return *value->As<std::string>();
}

absl::StatusOr<Value> TrimFilter(const Value& value, const Arguments& arguments) {
  const Value* characters = Find(arguments, 0, "chars");
  return Strip(value.Text(), characters == nullptr ? nullptr : characters->As<std::string>(), true,
               true);
}

absl::StatusOr<Value> LengthFilter(const Value& value, const Arguments& arguments) {
  if (const auto* text = value.As<std::string>()) return CharacterCount(*text);
  if (const List* list = value.AsList()) return static_cast<int64_t>(list->size());
  ASSIGN_OR_RETURN(const List members, Members(value));
  return static_cast<int64_t>(members.size());
}

absl::StatusOr<Value> ToJsonFilter(const Value& value, const Arguments& arguments) {
  const Value* indent = Find(arguments, 0, "indent");
  for (const auto& [name, argument] : arguments.named.items()) {
    if (name == "indent" || (name == "ensure_ascii" && !argument.IsTrue())) continue;
    return absl::UnimplementedError(absl::StrCat("tojson with ", name, " isn't supported"));
  }
  if (indent == nullptr || indent->is_none()) return value.ToJson();
  const auto* width = indent->As<int64_t>();
  if (width == nullptr || *width < 0 || *width > kMaxIndent) {
    return absl::InvalidArgumentError("tojson's indent must be a small number");
  }
  return value.ToJson(static_cast<int>(*width));
}

template <std::string (*change)(absl::string_view)>
absl::StatusOr<Value> ChangeFilter(const Value& value, const Arguments& arguments) {
  return change(value.Text());
}

absl::StatusOr<Value> JoinFilter(const Value& value, const Arguments& arguments) {
  const Value* separator = Find(arguments, 0, "d");
  ASSIGN_OR_RETURN(std::string text, Joined(value, separator == nullptr ? "" : separator->Text()));
  return text;
}

absl::StatusOr<Value> DefaultFilter(const Value& value, const Arguments& arguments) {
  const Value* otherwise = Find(arguments, 0, "default_value");
  const Value* also_false = Find(arguments, 1, "boolean");
  const bool is_missing =
      value.is_undefined() || (also_false != nullptr && also_false->IsTrue() && !value.IsTrue());
  if (!is_missing) return value;
  return otherwise == nullptr ? Value("") : *otherwise;
}

// Under another name where it is undefined.
absl::StatusOr<Value> OrUndefined(absl::StatusOr<Value> value, const char* name) {
  if (value.ok() && value->is_undefined()) return Value(Undefined{name});
  return value;
}

absl::StatusOr<Value> FirstFilter(const Value& value, const Arguments& arguments) {
  if (value.is_string()) return OrUndefined(Subscript(value, int64_t{0}), "first");
  ASSIGN_OR_RETURN(const List members, Members(value));
  return members.empty() ? Value(Undefined{"first"}) : members.front();
}

absl::StatusOr<Value> LastFilter(const Value& value, const Arguments& arguments) {
  if (value.is_string()) return OrUndefined(Subscript(value, int64_t{-1}), "last");
  ASSIGN_OR_RETURN(const List members, Members(value));
  return members.empty() ? Value(Undefined{"last"}) : members.back();
}

absl::StatusOr<Value> ListFilter(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(List members, Members(value));
  return Value(std::move(members));
}

absl::StatusOr<Value> ReverseFilter(const Value& value, const Arguments& arguments) {
  return Slice(value, None{}, None{}, int64_t{-1});
}

absl::StatusOr<Value> StringFilter(const Value& value, const Arguments& arguments) {
  return value.Text();
}

absl::StatusOr<Value> SafeFilter(const Value& value, const Arguments& arguments) { return value; }

absl::StatusOr<Value> ReplaceFilter(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::string from, String(arguments, 0, "old"));
  ASSIGN_OR_RETURN(const std::string to, String(arguments, 1, "new"));
  ASSIGN_OR_RETURN(std::string text, Replaced(value.Text(), from, to, -1));
  return text;
}

absl::StatusOr<Value> Truncated(double number) {
  // The negation also takes what is no number.
  if (!(std::abs(number) < 0x1p63)) return absl::InvalidArgumentError("a number is too large");
  return static_cast<int64_t>(number);
}

absl::StatusOr<Value> IntFilter(const Value& value, const Arguments& arguments) {
  const Value* otherwise = Find(arguments, 0, "default");
  if (value.As<int64_t>()) return value;
  if (value.is_number()) return Truncated(value.Number());
  int64_t integer;
  if (value.is_string() && absl::SimpleAtoi(*value.As<std::string>(), &integer)) return integer;
  return otherwise == nullptr ? Value(int64_t{0}) : *otherwise;
}

absl::StatusOr<Value> AbsFilter(const Value& value, const Arguments& arguments) {
  if (const auto* integer = value.As<int64_t>()) {
    return *integer < 0 ? ApplyOperator("-", int64_t{0}, *integer) : value;
  }
  return std::abs(value.Number());
}

absl::StatusOr<Value> ItemsFilter(const Value& value, const Arguments& arguments) {
  if (value.is_undefined()) return Value(List());
  if (value.AsDict() == nullptr) return absl::InvalidArgumentError("items needs a dict");
  return Value(Items(*value.AsDict()));
}

// Behind each line break: indent(width=4, first=false, blank=false).
absl::StatusOr<Value> IndentFilter(const Value& value, const Arguments& arguments) {
  const Value* width = Find(arguments, 0, "width");
  const Value* first = Find(arguments, 1, "first");
  const Value* blank = Find(arguments, 2, "blank");
  const int64_t spaces = width == nullptr || !width->As<int64_t>() ? 4 : *width->As<int64_t>();
  if (spaces < 0 || spaces > kMaxIndent) return absl::InvalidArgumentError("indent is too wide");
  const std::string text = value.Text();
  std::string result;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const bool is_first = begin == 0;
    const bool is_indented = is_first ? first != nullptr && first->IsTrue()
                                      : end > begin || (blank != nullptr && blank->IsTrue());
    if (!is_first) result += '\n';
    if (is_indented) result.append(spaces, ' ');
    result.append(text, begin, end - begin);
    RETURN_IF_ERROR(CheckValueBytes(result.size()));
    begin = end + 1;
  }
  return result;
}

// What `attribute` names in a member; dots go deeper.
absl::StatusOr<Value> Attribute(Value value, absl::string_view path) {
  while (!path.empty()) {
    const size_t dot = std::min(path.find('.'), path.size());
    const std::string name(path.substr(0, dot));
    ASSIGN_OR_RETURN(value, Subscript(value, Value(name)));
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return value;
}

// Of a filter that takes another one's name: what comes behind the first `count` arguments.
Arguments Behind(const Arguments& arguments, size_t count) {
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + count, arguments.positional.end());
  return rest;
}

absl::StatusOr<Value> MapFilter(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(List members, Members(value));
  if (arguments.named.Find("attribute") != nullptr) {
    ASSIGN_OR_RETURN(const std::string path, String(arguments, 99, "attribute"));
    const Value* otherwise = arguments.named.Find("default");
    for (Value& member : members) {
      ASSIGN_OR_RETURN(member, Attribute(member, path));
      if (member.is_undefined() && otherwise != nullptr) member = *otherwise;
    }
    return Value(std::move(members));
  }
  ASSIGN_OR_RETURN(const std::string filter, String(arguments, 0, "filter"));
  const Arguments rest = Behind(arguments, 1);
  Extent extent;
  for (Value& member : members) {
    ASSIGN_OR_RETURN(member, ApplyFilter(filter, member, rest));
    extent.Add(member.extent());
    RETURN_IF_ERROR(CheckValueBytes(extent.weight));
  }
  return Value(std::move(members));
}

// select, reject, selectattr and rejectattr.
template <bool of_attribute, bool wanted>
absl::StatusOr<Value> SelectFilter(const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const List members, Members(value));
  std::string path;
  if (of_attribute) {
    ASSIGN_OR_RETURN(path, String(arguments, 0, "attribute"));
  }
  const size_t place = of_attribute ? 1 : 0;
  List chosen;
  for (const Value& member : members) {
    ASSIGN_OR_RETURN(const Value looked_at, Attribute(member, path));
    bool result = looked_at.IsTrue();
    if (arguments.positional.size() > place) {
      ASSIGN_OR_RETURN(const std::string test, String(arguments, place, "test"));
      ASSIGN_OR_RETURN(result, ApplyTest(test, looked_at, Behind(arguments, place + 1)));
    }
    if (result == wanted) chosen.push_back(member);
  }
  return Value(std::move(chosen));
}

const absl::flat_hash_map<absl::string_view, Filter>& Filters() {
  static const auto* filters = new absl::flat_hash_map<absl::string_view, Filter>{
      {"trim", TrimFilter},
      {"length", LengthFilter},
      {"count", LengthFilter},
      {"tojson", ToJsonFilter},
      {"upper", ChangeFilter<Upper>},
      {"lower", ChangeFilter<Lower>},
      {"capitalize", ChangeFilter<Capitalized>},
      {"title", ChangeFilter<Title>},
      {"join", JoinFilter},
      {"default", DefaultFilter},
      {"d", DefaultFilter},
      {"first", FirstFilter},
      {"last", LastFilter},
      {"list", ListFilter},
      {"reverse", ReverseFilter},
      {"string", StringFilter},
      {"safe", SafeFilter},
      {"replace", ReplaceFilter},
      {"int", IntFilter},
      {"abs", AbsFilter},
      {"items", ItemsFilter},
      {"indent", IndentFilter},
      {"map", MapFilter},
      {"select", SelectFilter<false, true>},
      {"reject", SelectFilter<false, false>},
      {"selectattr", SelectFilter<true, true>},
      {"rejectattr", SelectFilter<true, false>},
  };
  return *filters;
}

bool IsSequence(const Value& value) {
  return value.AsList() != nullptr || value.is_string() || value.AsDict() != nullptr;
}

bool IsIntegral(const Value& value, int64_t remainder) {
  const double number = std::fmod(value.Number(), 2);
  return value.is_number() && std::abs(number) == static_cast<double>(remainder);
}

const absl::flat_hash_map<absl::string_view, Test>& Tests() {
  static const auto* tests = new absl::flat_hash_map<absl::string_view, Test>{
      {"defined", [](const Value& value) { return !value.is_undefined(); }},
      {"undefined", [](const Value& value) { return value.is_undefined(); }},
      {"none", [](const Value& value) { return value.is_none(); }},
      {"string", [](const Value& value) { return value.is_string(); }},
      {"mapping", [](const Value& value) { return value.AsDict() && !value.As<Namespace>(); }},
      {"number", [](const Value& value) { return value.is_number(); }},
      {"integer", [](const Value& value) { return value.As<int64_t>() != nullptr; }},
      {"float", [](const Value& value) { return value.As<double>() != nullptr; }},
      {"boolean", [](const Value& value) { return value.As<bool>() != nullptr; }},
      {"true", [](const Value& value) { return value.As<bool>() && *value.As<bool>(); }},
      {"false", [](const Value& value) { return value.As<bool>() && !*value.As<bool>(); }},
      {"iterable", [](const Value& value) { return IsSequence(value) || value.is_undefined(); }},
      {"sequence", [](const Value& value) { return IsSequence(value) || value.is_undefined(); }},
      {"callable", [](const Value& value) { return value.AsFunction() != nullptr; }},
      {"odd", [](const Value& value) { return IsIntegral(value, 1); }},
      {"even", [](const Value& value) { return IsIntegral(value, 0); }},
  };
  return *tests;
}

// Tests that are operators: "x is eq y".
absl::string_view OperatorOfTest(absl::string_view name) {
  if (name == "eq" || name == "equalto" || name == "==") return "==";
  if (name == "ne" || name == "!=") return "!=";
  if (name == "lt" || name == "<") return "<";
  if (name == "le" || name == "<=") return "<=";
  if (name == "gt" || name == ">") return ">";
  if (name == "ge" || name == ">=") return ">=";
  if (name == "in") return "in";
  return "";
}

absl::StatusOr<Value> Range(const Arguments& arguments) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = arguments.positional.size();
  if (count < 1 || count > 3) return absl::InvalidArgumentError("range needs 1 to 3 numbers");
  for (size_t i = 0; i < count; ++i) {
    const auto* bound = arguments.positional[i].As<int64_t>();
    if (bound == nullptr) return absl::InvalidArgumentError("range needs integers");
    bounds[count == 1 ? 1 : i] = *bound;
  }
  const auto [begin, end, step] = std::make_tuple(bounds[0], bounds[1], bounds[2]);
  if (step == 0) return absl::InvalidArgumentError("range's step must not be 0");
  List numbers;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<int64_t>(numbers.size()) == kMaxRange) {
      return absl::InvalidArgumentError("range is too long");
    }
    numbers.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value(std::move(numbers));
}

}  // namespace

absl::StatusOr<Value> ApplyFilter(const std::string& name, const Value& value,
                                  const Arguments& arguments) {
  const auto found = Filters().find(name);
  if (found == Filters().end()) {
    return absl::UnimplementedError(absl::StrCat("the filter ", name, " isn't supported"));
  }
  return found->second(value, arguments);
}

absl::StatusOr<bool> ApplyTest(const std::string& name, const Value& value,
                               const Arguments& arguments) {
  if (const absl::string_view op = OperatorOfTest(name); !op.empty()) {
    if (arguments.positional.size() != 1) {
      return absl::InvalidArgumentError(absl::StrCat("the test ", name, " needs an argument"));
    }
    ASSIGN_OR_RETURN(const Value result,
                     ApplyOperator(std::string(op), value, arguments.positional[0]));
    return result.IsTrue();
  }
  const auto found = Tests().find(name);
  if (found == Tests().end()) {
    return absl::UnimplementedError(absl::StrCat("the test ", name, " isn't supported"));
  }
  return found->second(value);
}

Dict GlobalFunctions() {
  Dict functions;
  functions.Set("range", Function(Range));
  functions.Set("dict", Function([](const Arguments& arguments) -> absl::StatusOr<Value> {
                  return Value(arguments.named);
                }));
  functions.Set("namespace", Function([](const Arguments& arguments) -> absl::StatusOr<Value> {
                  if (!Value(arguments.named).extent().is_plain) {
                    return absl::UnimplementedError("functions and namespaces in namespaces");
                  }
                  return Value(Namespace{std::make_shared<Dict>(arguments.named)});
                }));
  functions.Set(
      "raise_exception", Function([](const Arguments& arguments) -> absl::StatusOr<Value> {
        if (arguments.positional.empty()) return absl::InvalidArgumentError("");
        return absl::InvalidArgumentError(Excerpt(arguments.positional[0].Text(), kMaxShownBytes));
      }));
  return functions;
}

}  // namespace kvp::jinja

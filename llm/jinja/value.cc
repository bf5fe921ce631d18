#include "llm/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "llm/utf8.h"
#include "util/status_macros.h"

namespace kvp::jinja {
namespace {

// The shortest digits that read back as the number, as Python prints it.
std::string FloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char digits[32];
  for (int precision = 1; precision <= 17; ++precision) {
    std::snprintf(digits, sizeof(digits), "%.*g", precision, number);
    if (std::strtod(digits, nullptr) == number) break;
  }
  const double size = std::abs(number);
  if (size != 0 && (size >= 1e16 || size < 1e-4)) return digits;
  std::string text = digits;
  if (absl::StrContains(text, 'e')) {
    std::snprintf(digits, sizeof(digits), "%.0f", number);
    text = digits;
  }
  return absl::StrContains(text, '.') ? text : text + ".0";
}

// A string in quotes, with escapes as Python's repr() has them for printable text.
std::string Quoted(absl::string_view text) {
  const bool prefer_double = absl::StrContains(text, '\'') && !absl::StrContains(text, '"');
  const char quote = prefer_double ? '"' : '\'';
  std::string result(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\r') {
      result += "\\r";
    } else if (c == '\t') {
      result += "\\t";
    } else {
      result += c;
    }
  }
  return result + quote;
}

// What isn't UTF-8 becomes U+FFFD.
std::string JsonString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Of a value beside what it refers to; of a number's text also in time.
constexpr int64_t kValueBytes = 64;
constexpr int64_t kFloatWeight = 512;
constexpr size_t kMaxCharacters = size_t{4} << 20;
// Above every limit, and with room to add.
constexpr int64_t kMaxWeight = int64_t{1} << 50;

Extent ExtentOfDict(const Dict& dict) {
  Extent extent;
  for (const auto& [name, value] : dict.items()) {
    extent.Add(Value(name).extent());
    extent.Add(value.extent());
  }
  return extent;
}

Extent ExtentOfList(const List& list) {
  Extent extent;
  for (const Value& member : list) extent.Add(member.extent());
  return extent;
}

}  // namespace

void Extent::Add(const Extent& member) {
  // The members of a list are shared, so copying it copies their own bytes alone.
  copying += kValueBytes + (member.depth == 0 ? member.copying : 0);
  weight = std::min(weight + kValueBytes + member.weight, kMaxWeight);
  depth = std::max(depth, member.depth + 1);
  is_plain = is_plain && member.is_plain;
}

Value::Value(List value) {
  const Extent extent = ExtentOfList(value);
  variant_ = std::make_shared<const Measured<List>>(Measured<List>{std::move(value), extent});
}

Value::Value(Dict value) {
  const Extent extent = ExtentOfDict(value);
  variant_ = std::make_shared<const Measured<Dict>>(Measured<Dict>{std::move(value), extent});
}

Value::Value(Function value, int64_t bytes) {
  const Extent extent = {bytes, bytes, 0, /*is_plain=*/false};
  variant_ =
      std::make_shared<const Measured<Function>>(Measured<Function>{std::move(value), extent});
}

const Value* Dict::Find(absl::string_view key) const {
  for (const auto& [name, value] : items_) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Dict::Set(absl::string_view key, Value value) {
  for (auto& [name, old] : items_) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  items_.emplace_back(key, std::move(value));
}

Value Value::FromJson(const nlohmann::json& json) {
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::json::value_t::number_integer:
    case nlohmann::json::value_t::number_unsigned:
      return json.get<int64_t>();
    case nlohmann::json::value_t::number_float:
      return json.get<double>();
    case nlohmann::json::value_t::string:
      return json.get<std::string>();
    case nlohmann::json::value_t::array: {
      List list;
      for (const nlohmann::json& member : json) list.push_back(FromJson(member));
      return list;
    }
    case nlohmann::json::value_t::object: {
      Dict dict;
      for (const auto& [name, member] : json.items()) dict.Set(name, FromJson(member));
      return dict;
    }
    default:
      return None{};
  }
}

const List* Value::AsList() const {
  const auto* list = As<Shared<List>>();
  return list == nullptr ? nullptr : &(*list)->value;
}

const Dict* Value::AsDict() const {
  if (const auto* space = As<Namespace>()) return space->members.get();
  const auto* dict = As<Shared<Dict>>();
  return dict == nullptr ? nullptr : &(*dict)->value;
}

const Function* Value::AsFunction() const {
  const auto* function = As<Shared<Function>>();
  return function == nullptr ? nullptr : &(*function)->value;
}

Extent Value::extent() const {
  if (const auto* list = As<Shared<List>>()) return (*list)->extent;
  if (const auto* dict = As<Shared<Dict>>()) return (*dict)->extent;
  if (const auto* function = As<Shared<Function>>()) return (*function)->extent;
  Extent extent;
  if (const Dict* members = AsDict()) {
    extent = ExtentOfDict(*members);
    extent.is_plain = false;
    return extent;
  }
  if (const auto* text = As<std::string>()) extent.copying = static_cast<int64_t>(text->size());
  if (const auto* undefined = As<Undefined>()) {
    extent.copying = static_cast<int64_t>(undefined->name.size());
  }
  extent.weight = As<double>() ? kFloatWeight : extent.copying;
  return extent;
}

bool Value::IsTrue() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return Number() != 0;
  if (const auto* text = As<std::string>()) return !text->empty();
  if (const List* list = AsList()) return !list->empty();
  if (As<Namespace>() == nullptr && AsDict() != nullptr) return !AsDict()->items().empty();
  return true;
}

std::string Value::Text() const {
  if (is_undefined()) return "";
  if (const auto* text = As<std::string>()) return *text;
  return Representation();
}

std::string Value::Representation() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (const auto* boolean = As<bool>()) return *boolean ? "True" : "False";
  if (const auto* integer = As<int64_t>()) return absl::StrCat(*integer);
  if (const auto* number = As<double>()) return FloatText(*number);
  if (const auto* text = As<std::string>()) return Quoted(*text);
  if (const List* list = AsList()) {
    return absl::StrCat("[",
                        absl::StrJoin(*list, ", ",
                                      [](std::string* out, const Value& member) {
                                        absl::StrAppend(out, member.Representation());
                                      }),
                        "]");
  }
  if (const Dict* dict = AsDict()) {
    return absl::StrCat("{",
                        absl::StrJoin(dict->items(), ", ",
                                      [](std::string* out, const auto& item) {
                                        absl::StrAppend(out, Quoted(item.first), ": ",
                                                        item.second.Representation());
                                      }),
                        "}");
  }
  return "<function>";
}

absl::StatusOr<std::string> Value::ToJson(int indent) const {
  std::string text;
  RETURN_IF_ERROR(AppendJson(indent, 0, text));
  return text;
}

absl::Status Value::AppendJson(int indent, int level, std::string& text) const {
  RETURN_IF_ERROR(CheckValueBytes(text.size()));
  const auto begin_line = [&](int depth) {
    if (indent >= 0) absl::StrAppend(&text, "\n", std::string(size_t(indent) * depth, ' '));
  };
  const char* separator = indent >= 0 ? "," : ", ";
  bool is_first = true;
  const auto begin_member = [&] {
    if (!is_first) text += separator;
    is_first = false;
    begin_line(level + 1);
  };
  if (is_none()) {
    text += "null";
  } else if (const auto* boolean = As<bool>()) {
    text += *boolean ? "true" : "false";
  } else if (const auto* string = As<std::string>()) {
    text += JsonString(*string);
  } else if (is_number()) {
    text += Representation();
  } else if (const List* list = AsList()) {
    text += "[";
    for (const Value& member : *list) {
      begin_member();
      RETURN_IF_ERROR(member.AppendJson(indent, level + 1, text));
    }
    if (!is_first) begin_line(level);
    text += "]";
  } else if (AsDict() != nullptr && As<Namespace>() == nullptr) {
    text += "{";
    for (const auto& [name, member] : AsDict()->items()) {
      begin_member();
      absl::StrAppend(&text, JsonString(name), ": ");
      RETURN_IF_ERROR(member.AppendJson(indent, level + 1, text));
    }
    if (!is_first) begin_line(level);
    text += "}";
  } else {
    return absl::InvalidArgumentError(absl::StrCat("a value of type ", TypeName(), " is no JSON"));
  }
  return absl::OkStatus();
}

std::string Value::TypeName() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (As<bool>()) return "bool";
  if (As<int64_t>()) return "int";
  if (As<double>()) return "float";
  if (is_string()) return "str";
  if (AsList()) return "list";
  if (As<Namespace>()) return "Namespace";
  return AsDict() ? "dict" : "function";
}

double Value::Number() const {
  if (const auto* boolean = As<bool>()) return *boolean ? 1 : 0;
  if (const auto* integer = As<int64_t>()) return static_cast<double>(*integer);
  if (const auto* number = As<double>()) return *number;
  return 0;
}

bool Value::operator==(const Value& other) const {
  if (is_number() && other.is_number()) {
    if (As<int64_t>() && other.As<int64_t>()) return *As<int64_t>() == *other.As<int64_t>();
    return Number() == other.Number();
  }
  if (variant_.index() != other.variant_.index()) return false;
  if (is_undefined() || is_none()) return true;
  if (is_string()) return *As<std::string>() == *other.As<std::string>();
  if (AsList()) return *AsList() == *other.AsList();
  if (AsDict()) {
    const Dict& left = *AsDict();
    const Dict& right = *other.AsDict();
    return left.items().size() == right.items().size() &&
           std::all_of(left.items().begin(), left.items().end(), [&](const auto& item) {
             const Value* found = right.Find(item.first);
             return found != nullptr && *found == item.second;
           });
  }
  return AsFunction() == other.AsFunction();
}

absl::StatusOr<List> Members(const Value& value) {
  List members;
  if (value.is_undefined()) return members;
  if (const List* list = value.AsList()) return *list;
  if (const auto* text = value.As<std::string>()) {
    if (text->size() > kMaxCharacters) {
      return absl::ResourceExhaustedError("a text is too long to go through its characters");
    }
    for (size_t i = 0; i < text->size();) {
      const size_t bytes = FirstCharacter(absl::string_view(*text).substr(i)).bytes;
      members.emplace_back(text->substr(i, bytes));
      i += bytes;
    }
    return members;
  }
  if (const Dict* dict = value.AsDict()) {
    for (const auto& [name, member] : dict->items()) members.emplace_back(name);
    return members;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a value of type ", value.TypeName(), " can't be gone through"));
}

int64_t CharacterCount(absl::string_view text) {
  int64_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(FirstCharacter(text).bytes);
  return count;
}

absl::Status CheckValueBytes(int64_t bytes) {
  if (bytes <= kMaxValueBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError("a value gets too long");
}

}  // namespace kvp::jinja

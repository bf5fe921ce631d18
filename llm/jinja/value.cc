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

}  // namespace

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
  const auto* list = As<std::shared_ptr<const List>>();
  return list == nullptr ? nullptr : list->get();
}

const Dict* Value::AsDict() const {
  if (const auto* space = As<Namespace>()) return space->members.get();
  const auto* dict = As<std::shared_ptr<const Dict>>();
  return dict == nullptr ? nullptr : dict->get();
}

const Function* Value::AsFunction() const {
  const auto* function = As<std::shared_ptr<const Function>>();
  return function == nullptr ? nullptr : function->get();
}

bool Value::IsTrue() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return Number() != 0;
  if (const auto* text = As<std::string>()) return !text->empty();
  if (const List* list = AsList()) return !list->empty();
  if (const auto* dict = As<std::shared_ptr<const Dict>>()) return !(*dict)->items().empty();
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
    text += nlohmann::json(*string).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
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
  } else if (const auto* dict = As<std::shared_ptr<const Dict>>()) {
    text += "{";
    for (const auto& [name, member] : (*dict)->items()) {
      begin_member();
      absl::StrAppend(&text, nlohmann::json(name).dump(), ": ");
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

}  // namespace kvp::jinja

#include "llm/jinja/methods.h"

#include <string.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "llm/jinja/lexer.h"
#include "llm/utf8.h"
#include "utf8proc.h"
#include "util/status_macros.h"

namespace kvp::jinja {
namespace {

using StringMethod = absl::StatusOr<Value> (*)(const std::string& text, const Arguments& arguments);

template <typename Change>
std::string EachCharacter(absl::string_view text, Change change) {
  std::string result;
  while (!text.empty()) {
    const Utf8Character character = FirstCharacter(text);
    if (character.code_point < 0) {
      result += text[0];
    } else {
      AppendCharacter(change(character.code_point), result);
    }
    text.remove_prefix(character.bytes);
  }
  return result;
}

// Argument `index` as a string; null where it is missing or none. `status` tells another type.
const std::string* OptionalString(const Arguments& arguments, size_t index, absl::Status& status) {
  if (index >= arguments.positional.size() || arguments.positional[index].is_none()) return nullptr;
  const auto* text = arguments.positional[index].As<std::string>();
  if (text == nullptr) status = absl::InvalidArgumentError("a string is needed as argument");
  return text;
}

absl::StatusOr<std::string> RequiredString(const Arguments& arguments, size_t index) {
  absl::Status status = absl::InvalidArgumentError("an argument is missing");
  const std::string* text = OptionalString(arguments, index, status);
  if (text == nullptr) return status;
  return *text;
}

absl::StatusOr<int64_t> IntegerOr(const Arguments& arguments, size_t index, int64_t otherwise) {
  if (index >= arguments.positional.size()) return otherwise;
  const auto* integer = arguments.positional[index].As<int64_t>();
  if (integer == nullptr) return absl::InvalidArgumentError("an integer is needed as argument");
  return *integer;
}

template <bool left, bool right>
absl::StatusOr<Value> StripMethod(const std::string& text, const Arguments& arguments) {
  absl::Status status;
  const std::string* characters = OptionalString(arguments, 0, status);
  RETURN_IF_ERROR(status);
  return Strip(text, characters, left, right);
}

absl::Status CheckMemberCount(const List& members) {
  if (members.size() < kMaxMembers) return absl::OkStatus();
  return absl::ResourceExhaustedError("a list gets too long");
}

// At white space, without empty parts.
absl::StatusOr<Value> SplitAtSpace(absl::string_view text, int64_t most) {
  List parts;
  text = StripLeft(text);
  while (!text.empty() && (most < 0 || static_cast<int64_t>(parts.size()) < most)) {
    RETURN_IF_ERROR(CheckMemberCount(parts));
    size_t end = 0;
    while (end < text.size()) {
      const Utf8Character character = FirstCharacter(text.substr(end));
      if (IsPythonSpace(character.code_point)) break;
      end += character.bytes;
    }
    parts.emplace_back(text.substr(0, end));
    text = StripLeft(text.substr(end));
  }
  if (!text.empty()) parts.emplace_back(StripRight(text));
  return Value(std::move(parts));
}

absl::StatusOr<Value> SplitMethod(const std::string& text, const Arguments& arguments) {
  absl::Status status;
  const std::string* separator = OptionalString(arguments, 0, status);
  RETURN_IF_ERROR(status);
  ASSIGN_OR_RETURN(int64_t most, IntegerOr(arguments, 1, -1));
  if (separator == nullptr) return SplitAtSpace(text, most);
  if (separator->empty()) return absl::InvalidArgumentError("split needs a separator");
  List parts;
  absl::string_view rest = text;
  for (; most != 0; --most) {
    const size_t at = FindText(rest, *separator);
    if (at == absl::string_view::npos) break;
    RETURN_IF_ERROR(CheckMemberCount(parts));
    parts.emplace_back(rest.substr(0, at));
    rest.remove_prefix(at + separator->size());
  }
  parts.emplace_back(rest);
  return Value(std::move(parts));
}

// startswith and endswith: of one string or any of several.
template <bool (*matches)(absl::string_view, absl::string_view)>
absl::StatusOr<Value> MatchMethod(const std::string& text, const Arguments& arguments) {
  if (arguments.positional.size() == 1 && arguments.positional[0].AsList() != nullptr) {
    for (const Value& choice : *arguments.positional[0].AsList()) {
      if (choice.is_string() && matches(text, *choice.As<std::string>())) return true;
    }
    return false;
  }
  ASSIGN_OR_RETURN(const std::string other, RequiredString(arguments, 0));
  if (arguments.positional.size() > 1) {
    return absl::UnimplementedError("startswith and endswith take one argument here");
  }
  return matches(text, other);
}

bool StartsWith(absl::string_view text, absl::string_view prefix) {
  return absl::StartsWith(text, prefix);
}
bool EndsWith(absl::string_view text, absl::string_view suffix) {
  return absl::EndsWith(text, suffix);
}

template <std::string (*change)(absl::string_view)>
absl::StatusOr<Value> ChangeMethod(const std::string& text, const Arguments& arguments) {
  return change(text);
}

absl::StatusOr<Value> ReplaceMethod(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::string from, RequiredString(arguments, 0));
  ASSIGN_OR_RETURN(const std::string to, RequiredString(arguments, 1));
  ASSIGN_OR_RETURN(const int64_t count, IntegerOr(arguments, 2, -1));
  ASSIGN_OR_RETURN(std::string result, Replaced(text, from, to, count));
  return result;
}

absl::StatusOr<Value> JoinMethod(const std::string& text, const Arguments& arguments) {
  if (arguments.positional.size() != 1) return absl::InvalidArgumentError("join needs a list");
  ASSIGN_OR_RETURN(std::string result, Joined(arguments.positional[0], text));
  return result;
}

absl::StatusOr<Value> CountMethod(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::string part, RequiredString(arguments, 0));
  if (part.empty()) return absl::InvalidArgumentError("count needs a string that isn't empty");
  int64_t count = 0;
  for (size_t at = FindText(text, part); at != std::string::npos;
       at = FindText(text, part, at + part.size())) {
    ++count;
  }
  return count;
}

absl::StatusOr<Value> FindStringMethod(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::string part, RequiredString(arguments, 0));
  const size_t at = FindText(text, part);
  if (at == std::string::npos) return int64_t{-1};
  return CharacterCount(absl::string_view(text).substr(0, at));
}

const absl::flat_hash_map<absl::string_view, StringMethod>& StringMethods() {
  static const auto* methods = new absl::flat_hash_map<absl::string_view, StringMethod>{
      {"strip", StripMethod<true, true>},
      {"lstrip", StripMethod<true, false>},
      {"rstrip", StripMethod<false, true>},
      {"split", SplitMethod},
      {"startswith", MatchMethod<StartsWith>},
      {"endswith", MatchMethod<EndsWith>},
      {"upper", ChangeMethod<Upper>},
      {"lower", ChangeMethod<Lower>},
      {"capitalize", ChangeMethod<Capitalized>},
      {"title", ChangeMethod<Title>},
      {"replace", ReplaceMethod},
      {"join", JoinMethod},
      {"count", CountMethod},
      {"find", FindStringMethod},
  };
  return *methods;
}

Value DictMethod(const Value& value, const std::string& name) {
  const int64_t bytes = value.extent().copying;
  const auto over = [&](List (*list)(const Dict&)) {
    return Value(Function([value, list](const Arguments&) -> absl::StatusOr<Value> {
                   return Value(list(*value.AsDict()));
                 }),
                 bytes);
  };
  if (name == "items") return over(Items);
  if (name == "keys") {
    return over([](const Dict& dict) {
      List keys;
      for (const auto& [key, member] : dict.items()) keys.emplace_back(key);
      return keys;
    });
  }
  if (name == "values") {
    return over([](const Dict& dict) {
      List members;
      for (const auto& [key, member] : dict.items()) members.push_back(member);
      return members;
    });
  }
  if (name != "get") return Undefined{name};
  const auto get = [value](const Arguments& arguments) -> absl::StatusOr<Value> {
    ASSIGN_OR_RETURN(const std::string key, RequiredString(arguments, 0));
    if (const Value* found = value.AsDict()->Find(key)) return *found;
    return arguments.positional.size() > 1 ? arguments.positional[1] : Value(None{});
  };
  return Value(Function(get), bytes);
}

}  // namespace

Value FindMethod(const Value& value, const std::string& name) {
  if (value.AsDict() != nullptr && !value.As<Namespace>()) return DictMethod(value, name);
  const auto* text = value.As<std::string>();
  if (text == nullptr) return Undefined{name};
  const auto found = StringMethods().find(name);
  if (found == StringMethods().end()) return Undefined{name};
  const auto call = [text = *text, method = found->second,
                     name](const Arguments& arguments) -> absl::StatusOr<Value> {
    if (!arguments.named.items().empty()) {
      return absl::UnimplementedError(absl::StrCat(name, " with named arguments isn't supported"));
    }
    return method(text, arguments);
  };
  return Value(Function(call), static_cast<int64_t>(text->size()));
}

size_t FindText(absl::string_view text, absl::string_view part, size_t begin) {
  const absl::string_view rest = text.substr(begin);
  const void* found = memmem(rest.data(), rest.size(), part.data(), part.size());
  if (found == nullptr) return absl::string_view::npos;
  return static_cast<const char*>(found) - text.data();
}

std::string Strip(absl::string_view text, const std::string* characters, bool left, bool right) {
  if (characters == nullptr) {
    if (left) text = StripLeft(text);
    if (right) text = StripRight(text);
    return std::string(text);
  }
  absl::flat_hash_set<absl::string_view> stripped;
  for (absl::string_view rest = *characters; !rest.empty();) {
    const size_t bytes = FirstCharacter(rest).bytes;
    stripped.insert(rest.substr(0, bytes));
    rest.remove_prefix(bytes);
  }
  const auto belongs = [&](absl::string_view character) { return stripped.contains(character); };
  while (left && !text.empty()) {
    const size_t bytes = FirstCharacter(text).bytes;
    if (!belongs(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  while (right && !text.empty()) {
    const size_t bytes = LastCharacter(text).bytes;
    if (!belongs(text.substr(text.size() - bytes))) break;
    text.remove_suffix(bytes);
  }
  return std::string(text);
}

std::string Upper(absl::string_view text) { return EachCharacter(text, utf8proc_toupper); }

std::string Lower(absl::string_view text) { return EachCharacter(text, utf8proc_tolower); }

std::string Capitalized(absl::string_view text) {
  bool is_first = true;
  return EachCharacter(text, [&](int32_t c) {
    return std::exchange(is_first, false) ? utf8proc_totitle(c) : utf8proc_tolower(c);
  });
}

std::string Title(absl::string_view text) {
  bool in_word = false;
  return EachCharacter(text, [&](int32_t c) {
    const bool is_letter = utf8proc_tolower(c) != c || utf8proc_toupper(c) != c;
    const int32_t result = in_word ? utf8proc_tolower(c) : utf8proc_totitle(c);
    in_word = is_letter;
    return result;
  });
}

absl::StatusOr<std::string> Replaced(absl::string_view text, absl::string_view from,
                                     absl::string_view to, int64_t count) {
  if (from.empty()) return absl::InvalidArgumentError("replace needs a string that isn't empty");
  std::string result;
  for (; count != 0; --count) {
    const size_t at = FindText(text, from);
    if (at == absl::string_view::npos) break;
    absl::StrAppend(&result, text.substr(0, at), to);
    RETURN_IF_ERROR(CheckValueBytes(result.size()));
    text.remove_prefix(at + from.size());
  }
  absl::StrAppend(&result, text);
  return result;
}

absl::StatusOr<std::string> Joined(const Value& list, absl::string_view separator) {
  ASSIGN_OR_RETURN(const List members, Members(list));
  std::string result;
  for (size_t i = 0; i < members.size(); ++i) {
    absl::StrAppend(&result, i == 0 ? "" : separator, members[i].Text());
    RETURN_IF_ERROR(CheckValueBytes(result.size()));
  }
  return result;
}

List Items(const Dict& dict) {
  List items;
  for (const auto& [key, member] : dict.items()) items.push_back(List{key, member});
  return items;
}

}  // namespace kvp::jinja

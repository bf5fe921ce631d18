// The values of a template language that Python defines: what an expression gives.

#ifndef KVP_LLM_JINJA_VALUE_H_
#define KVP_LLM_JINJA_VALUE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace kvp::jinja {

class Value;

// What a value takes, in bytes or so. Lists and dicts share their members, so a small template can
// make a value that is huge as text.
struct Extent {
  int64_t copying = 0;  // of copying the members, without what they share
  int64_t weight = 0;   // as text
  int depth = 0;        // lists and dicts within each other
  // Without functions and namespaces, so that nothing can come to contain itself.
  bool is_plain = true;

  // Of a list or dict to which a member is added.
  void Add(const Extent& member);
};

// A variable that isn't there: empty as text, false as a condition.
struct Undefined {
  std::string name;
};
struct None {};
using List = std::vector<Value>;

// Strings to values, in the order of insertion.
class Dict {
 public:
  // Null where `key` is missing.
  const Value* Find(absl::string_view key) const;
  void Set(absl::string_view key, Value value);
  const std::vector<std::pair<std::string, Value>>& items() const { return items_; }

 private:
  std::vector<std::pair<std::string, Value>> items_;
};

// What `namespace()` makes: a dict whose members templates can set.
struct Namespace {
  std::shared_ptr<Dict> members;
};

struct Arguments {
  List positional;
  Dict named;
};
using Function = std::function<absl::StatusOr<Value>(const Arguments& arguments)>;

// Copies share lists and dicts, which never change once made.
class Value {
 public:
  // A list, dict or function, and its extent.
  template <typename T>
  struct Measured {
    T value;
    Extent extent;
  };
  template <typename T>
  using Shared = std::shared_ptr<const Measured<T>>;
  using Variant = std::variant<Undefined, None, bool, int64_t, double, std::string, Shared<List>,
                               Shared<Dict>, Namespace, Shared<Function>>;

  Value() : variant_(Undefined{}) {}
  Value(Undefined value) : variant_(std::move(value)) {}            // NOLINT: a conversion
  Value(None value) : variant_(value) {}                            // NOLINT
  Value(bool value) : variant_(value) {}                            // NOLINT
  Value(int64_t value) : variant_(value) {}                         // NOLINT
  Value(double value) : variant_(value) {}                          // NOLINT
  Value(std::string value) : variant_(std::move(value)) {}          // NOLINT
  Value(absl::string_view value) : variant_(std::string(value)) {}  // NOLINT
  Value(const char* value) : variant_(std::string(value)) {}        // NOLINT
  Value(List value);                                                // NOLINT
  Value(Dict value);                                                // NOLINT
  Value(Namespace value) : variant_(std::move(value)) {}            // NOLINT
  // `bytes`: what the function holds.
  Value(Function value, int64_t bytes = 0);  // NOLINT
  static Value FromJson(const nlohmann::json& json);

  // Null where the value is of another type.
  template <typename T>
  const T* As() const {
    return std::get_if<T>(&variant_);
  }
  const List* AsList() const;
  // Of a dict or a namespace.
  const Dict* AsDict() const;
  const Function* AsFunction() const;
  bool is_undefined() const { return As<Undefined>() != nullptr; }
  bool is_none() const { return As<None>() != nullptr; }
  bool is_string() const { return As<std::string>() != nullptr; }
  bool is_number() const { return As<int64_t>() || As<double>() || As<bool>(); }

  Extent extent() const;

  // bool() of Python.
  bool IsTrue() const;
  // str() of Python.
  std::string Text() const;
  // repr() of Python, as str() shows the members of lists.
  std::string Representation() const;
  // json.dumps(…, ensure_ascii=False) of Python; with `indent` >= 0, over several lines.
  // INVALID_ARGUMENT where something isn't JSON.
  absl::StatusOr<std::string> ToJson(int indent = -1) const;
  // The type's name in Python.
  std::string TypeName() const;

  // == of Python.
  bool operator==(const Value& other) const;
  // A number: also true and false. 0 where it is none.
  double Number() const;

 private:
  absl::Status AppendJson(int indent, int level, std::string& text) const;

  Variant variant_;
};

// What a `for` goes through: a list's members, a string's characters, a dict's keys.
// INVALID_ARGUMENT for what isn't iterable; nothing for what is undefined. RESOURCE_EXHAUSTED for
// a string that is longer than any that is gone through character by character.
absl::StatusOr<List> Members(const Value& value);
// Of a string: its characters.
int64_t CharacterCount(absl::string_view text);

// Of a text or list that is made, and the members of one that is.
constexpr int64_t kMaxValueBytes = int64_t{64} << 20;
constexpr size_t kMaxMembers = size_t{1} << 20;
// RESOURCE_EXHAUSTED where `bytes` are more than kMaxValueBytes.
absl::Status CheckValueBytes(int64_t bytes);

}  // namespace kvp::jinja

#endif  // KVP_LLM_JINJA_VALUE_H_

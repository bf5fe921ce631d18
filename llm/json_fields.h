// Typed access to the fields of a JSON object that came from outside: every error names file, field
// and value.

#ifndef KVP_LLM_JSON_FIELDS_H_
#define KVP_LLM_JSON_FIELDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace kvp {

// As ParseJson (util/json_text.h), for an object: INVALID_ARGUMENT for another value, too.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text, const std::string& path);

// A view of one JSON object, which must outlive it. A field that is null counts as missing, as in
// Hugging Face's files. Not owned; immutable.
class JsonFields {
 public:
  // `prefix` is what stands before a field's name in messages, as in "model.".
  JsonFields(const nlohmann::json& object, std::string path, std::string prefix = "")
      : object_(object), path_(std::move(path)), prefix_(std::move(prefix)) {}

  bool has(const char* name) const { return Find(name) != nullptr; }
  // Whether the field is there, even if null.
  bool mentions(const char* name) const { return object_.contains(name); }
  const nlohmann::json& object() const { return object_; }
  // Null where the field is missing.
  const nlohmann::json* Find(const char* name) const;

  // INVALID_ARGUMENT where the field is missing or of another type; the integer's range is
  // [minimum, maximum].
  absl::StatusOr<int64_t> Integer(const char* name, int64_t minimum, int64_t maximum) const;
  absl::StatusOr<double> Number(const char* name) const;
  absl::StatusOr<bool> Bool(const char* name) const;
  absl::StatusOr<std::string> String(const char* name) const;
  absl::StatusOr<std::vector<double>> Numbers(const char* name) const;
  // A view of the object in this field.
  absl::StatusOr<JsonFields> Object(const char* name) const;

  // As above, with a default for a missing field.
  absl::StatusOr<double> NumberOr(const char* name, double value) const;
  absl::StatusOr<bool> BoolOr(const char* name, bool value) const;
  absl::StatusOr<std::string> StringOr(const char* name, const std::string& value) const;

  // "path: field is VALUE: reason" (or "is missing").
  absl::Status Invalid(const char* name, absl::string_view reason) const;
  absl::Status Unsupported(const char* name, absl::string_view reason) const;

 private:
  std::string Describe(const char* name) const;

  const nlohmann::json& object_;
  const std::string path_;
  const std::string prefix_;
};

}  // namespace kvp

#endif  // KVP_LLM_JSON_FIELDS_H_

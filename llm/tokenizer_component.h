// One component of a tokenizer.json: an object {"type": NAME, ...}, such as a normalizer.

#ifndef KVP_LLM_TOKENIZER_COMPONENT_H_
#define KVP_LLM_TOKENIZER_COMPONENT_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llm/json_fields.h"
#include "llm/regex_splitter.h"
#include "nlohmann/json.hpp"

namespace kvp {

// Not owned: the JSON must outlive it.
class TokenizerComponent {
 public:
  // `name` is where it stands in the file `path`, as in "normalizer". INVALID_ARGUMENT where it is
  // no object or has no type.
  static absl::StatusOr<TokenizerComponent> Create(const nlohmann::json& json,
                                                   const std::string& path,
                                                   const std::string& name);

  const std::string& type() const { return type_; }
  const std::string& name() const { return name_; }
  const std::string& path() const { return path_; }
  const JsonFields& fields() const { return fields_; }

  // Calls `parse` for the components in the field `list`, until one fails. UNIMPLEMENTED where
  // sequences are nested too deeply.
  absl::Status ForEachPart(
      const char* list,
      absl::FunctionRef<absl::Status(const TokenizerComponent& part)> parse) const;

  // The field "pattern", {"String": TEXT} or {"Regex": EXPRESSION}.
  absl::StatusOr<std::unique_ptr<RegexSplitter>> Pattern() const;

  // The field `name`, a string of exactly one character.
  absl::StatusOr<std::string> Character(const char* name) const;

  // UNIMPLEMENTED, naming the type; `known` lists what is supported.
  absl::Status UnsupportedType(const std::string& known) const;

 private:
  TokenizerComponent(const nlohmann::json& json, const std::string& path, const std::string& name,
                     int depth)
      : path_(path), name_(name), fields_(json, path, name + "."), depth_(depth) {}
  static absl::StatusOr<TokenizerComponent> Create(const nlohmann::json& json,
                                                   const std::string& path, const std::string& name,
                                                   int depth);

  std::string path_;
  std::string name_;
  JsonFields fields_;
  int depth_;
  std::string type_;
};

}  // namespace kvp

#endif  // KVP_LLM_TOKENIZER_COMPONENT_H_

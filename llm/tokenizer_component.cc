#include "llm/tokenizer_component.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "llm/utf8.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Sequences within sequences; real files have two levels.
constexpr int kMaxDepth = 16;

}  // namespace

absl::StatusOr<TokenizerComponent> TokenizerComponent::Create(const nlohmann::json& json,
                                                              const std::string& path,
                                                              const std::string& name) {
  return Create(json, path, name, /*depth=*/0);
}

absl::StatusOr<TokenizerComponent> TokenizerComponent::Create(const nlohmann::json& json,
                                                              const std::string& path,
                                                              const std::string& name, int depth) {
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", name, ": an object is needed"));
  }
  TokenizerComponent component(json, path, name, depth);
  ASSIGN_OR_RETURN(component.type_, component.fields_.String("type"));
  return component;
}

absl::Status TokenizerComponent::ForEachPart(
    const char* list, absl::FunctionRef<absl::Status(const TokenizerComponent& part)> parse) const {
  const nlohmann::json* parts = fields_.Find(list);
  if (parts == nullptr || !parts->is_array()) return fields_.Invalid(list, "an array is needed");
  if (depth_ == kMaxDepth) return fields_.Unsupported(list, "nested too deeply");
  int index = 0;
  for (const nlohmann::json& json : *parts) {
    ASSIGN_OR_RETURN(
        const TokenizerComponent part,
        Create(json, path_, absl::StrCat(name_, ".", list, "[", index++, "]"), depth_ + 1));
    RETURN_IF_ERROR(parse(part));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RegexSplitter>> TokenizerComponent::Pattern() const {
  const nlohmann::json* pattern = fields_.Find("pattern");
  if (pattern == nullptr || !pattern->is_object()) {
    return fields_.Invalid("pattern", "an object is needed");
  }
  const JsonFields kinds(*pattern, path_, absl::StrCat(name_, ".pattern."));
  const bool literal = kinds.has("String");
  const char* kind = literal ? "String" : "Regex";
  ASSIGN_OR_RETURN(const std::string text, kinds.String(kind));
  if (text.empty()) return kinds.Invalid(kind, "must not be empty");
  absl::StatusOr<std::unique_ptr<RegexSplitter>> splitter = RegexSplitter::Create(text, literal);
  if (!splitter.ok()) return kinds.Invalid(kind, splitter.status().message());
  return splitter;
}

absl::StatusOr<std::string> TokenizerComponent::Character(const char* name) const {
  ASSIGN_OR_RETURN(std::string text, fields_.String(name));
  if (text.empty() || FirstCharacter(text).bytes != text.size()) {
    return fields_.Invalid(name, "one character is needed");
  }
  return text;
}

absl::Status TokenizerComponent::UnsupportedType(const std::string& known) const {
  return fields_.Unsupported("type", absl::StrCat("supported are ", known));
}

}  // namespace kvp

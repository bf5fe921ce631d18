#include "llm/post_processor.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;
using IsKnown = absl::FunctionRef<bool(int64_t id)>;

// Real files have one or two on a side.
constexpr size_t kMaxTokens = 1000;

absl::Status CheckCount(const PostProcessor& processor, const TokenizerComponent& component) {
  if (processor.prefix.size() + processor.suffix.size() <= kMaxTokens) return absl::OkStatus();
  return component.fields().Unsupported("type", "it puts too many tokens around a text");
}

// Puts what `outer` adds around what `inner` adds.
PostProcessor Around(const PostProcessor& outer, const PostProcessor& inner) {
  PostProcessor both = outer;
  both.prefix.insert(both.prefix.end(), inner.prefix.begin(), inner.prefix.end());
  both.suffix = inner.suffix;
  both.suffix.insert(both.suffix.end(), outer.suffix.begin(), outer.suffix.end());
  return both;
}

bool IsKnownId(const Json& id, IsKnown is_known) {
  return id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX && is_known(id.get<int64_t>());
}

// {"special_tokens": {NAME: {"ids": [...]}}}
absl::Status AppendSpecialIds(const JsonFields& fields, const std::string& token, IsKnown is_known,
                              std::vector<int32_t>& ids) {
  const Json* all = fields.Find("special_tokens");
  const bool is_defined = all != nullptr && all->is_object() && all->contains(token) &&
                          (*all)[token].is_object() && (*all)[token].contains("ids") &&
                          (*all)[token]["ids"].is_array();
  if (!is_defined) return fields.Invalid("special_tokens", absl::StrCat("lacks ids of ", token));
  for (const Json& id : (*all)[token]["ids"]) {
    if (!IsKnownId(id, is_known)) {
      return fields.Invalid("special_tokens", absl::StrCat("an id of ", token, " is unknown"));
    }
    ids.push_back(id.get<int32_t>());
  }
  return absl::OkStatus();
}

// {"single": [{"SpecialToken": {"id": NAME}}, {"Sequence": {"id": "A"}}, ...],
//  "special_tokens": ...}
absl::StatusOr<PostProcessor> ParseTemplate(const TokenizerComponent& component, IsKnown is_known) {
  const JsonFields& fields = component.fields();
  const Json* single = fields.Find("single");
  if (single == nullptr || !single->is_array()) {
    return fields.Invalid("single", "an array is needed");
  }
  PostProcessor result;
  bool has_sequence = false;
  int index = 0;
  for (const Json& json : *single) {
    const std::string name = absl::StrCat(component.name(), ".single[", index++, "]");
    if (!json.is_object()) {
      return absl::InvalidArgumentError(
          absl::StrCat(component.path(), ": ", name, ": an object is needed"));
    }
    const JsonFields piece(json, component.path(), absl::StrCat(name, "."));
    if (piece.has("Sequence")) {
      if (has_sequence) return piece.Unsupported("Sequence", "only one is supported");
      has_sequence = true;
      continue;
    }
    const Json* special = piece.Find("SpecialToken");
    if (special == nullptr || !special->is_object() || !special->contains("id") ||
        !(*special)["id"].is_string()) {
      return piece.Invalid("SpecialToken", "an object with an id is needed");
    }
    RETURN_IF_ERROR(AppendSpecialIds(fields, (*special)["id"].get<std::string>(), is_known,
                                     has_sequence ? result.suffix : result.prefix));
    RETURN_IF_ERROR(CheckCount(result, component));
  }
  if (!has_sequence) return fields.Invalid("single", "a Sequence is needed");
  return result;
}

// {"cls": [TOKEN, id], "sep": [TOKEN, id]}
absl::StatusOr<PostProcessor> ParseBert(const TokenizerComponent& component, IsKnown is_known) {
  const JsonFields& fields = component.fields();
  PostProcessor result;
  for (const char* name : {"cls", "sep"}) {
    const Json* pair = fields.Find(name);
    const bool is_pair = pair != nullptr && pair->is_array() && pair->size() == 2;
    if (!is_pair || !IsKnownId((*pair)[1], is_known)) {
      return fields.Invalid(name, "a token and its id in the vocabulary are needed");
    }
    (name[0] == 'c' ? result.prefix : result.suffix).push_back((*pair)[1].get<int32_t>());
  }
  return result;
}

}  // namespace

absl::StatusOr<PostProcessor> ParsePostProcessor(const TokenizerComponent& component,
                                                 IsKnown is_known) {
  const std::string& type = component.type();
  if (type == "ByteLevel") return PostProcessor();
  if (type == "TemplateProcessing") return ParseTemplate(component, is_known);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return ParseBert(component, is_known);
  }
  if (type != "Sequence") {
    return component.UnsupportedType(
        "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing and Sequence");
  }
  PostProcessor all;
  RETURN_IF_ERROR(
      component.ForEachPart("processors", [&](const TokenizerComponent& part) -> absl::Status {
        ASSIGN_OR_RETURN(const PostProcessor processor, ParsePostProcessor(part, is_known));
        all = Around(processor, all);
        return CheckCount(all, component);
      }));
  return all;
}

}  // namespace kvp

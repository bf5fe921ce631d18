#include "llm/tokenizer_json.h"

#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "llm/byte_level.h"
#include "llm/json_fields.h"
#include "nlohmann/json.hpp"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;
using StringIds = absl::flat_hash_map<std::string, int32_t>;

// Far above every model's; an id beyond it would only take memory.
constexpr int64_t kMaxId = (int64_t{1} << 24) - 1;
// Sequences within sequences; real files have two levels.
constexpr int kMaxDepth = 16;

// The parser of one file: each method reads one part of it into `parts`.
class Parser {
 public:
  Parser(const Json& json, const std::string& path, TokenizerParts& parts)
      : path_(path), root_(json, path), parts_(parts) {}

  absl::Status Parse() {
    for (const char* name : {"truncation", "padding"}) {
      if (root_.has(name)) return root_.Unsupported(name, "only null is supported");
    }
    RETURN_IF_ERROR(ParseModel());
    RETURN_IF_ERROR(ParseAddedTokens());
    if (const Json* normalizer = root_.Find("normalizer"); normalizer != nullptr) {
      RETURN_IF_ERROR(ParseNormalizer(*normalizer, "normalizer."));
    }
    if (!root_.has("pre_tokenizer")) {
      return root_.Unsupported("pre_tokenizer", "ByteLevel is needed");
    }
    RETURN_IF_ERROR(ParsePreTokenizer(*root_.Find("pre_tokenizer"), "pre_tokenizer."));
    if (!byte_level_) return root_.Unsupported("pre_tokenizer", "ByteLevel must be the last one");
    if (!root_.has("decoder")) return root_.Unsupported("decoder", "ByteLevel is needed");
    RETURN_IF_ERROR(ParseDecoder(*root_.Find("decoder"), "decoder."));
    if (const Json* processor = root_.Find("post_processor"); processor != nullptr) {
      RETURN_IF_ERROR(ParsePostProcessor(*processor, "post_processor."));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CheckObject(const Json& json, const std::string& name) const {
    if (json.is_object()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", name, ": an object is needed"));
  }

  absl::Status SetBytes(int64_t id, std::string bytes, const std::string& name) {
    if (id >= static_cast<int64_t>(parts_.known.size())) {
      parts_.known.resize(id + 1);
      parts_.bytes.resize(id + 1);
    }
    if (parts_.known[id]) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": ", name, ": id ", id, " stands for another token too"));
    }
    parts_.known[id] = true;
    parts_.bytes[id] = std::move(bytes);
    return absl::OkStatus();
  }

  absl::Status ParseModel() {
    const Json* json = root_.Find("model");
    if (json == nullptr || !json->is_object()) return root_.Invalid("model", "an object is needed");
    const JsonFields fields(*json, path_, "model.");
    ASSIGN_OR_RETURN(const std::string type, fields.StringOr("type", "BPE"));
    if (type != "BPE") return fields.Unsupported("type", "only \"BPE\" is supported");
    for (const char* name : {"byte_fallback", "fuse_unk"}) {
      ASSIGN_OR_RETURN(const bool value, fields.BoolOr(name, false));
      if (value) return fields.Unsupported(name, "only false is supported");
    }
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      ASSIGN_OR_RETURN(const std::string value, fields.StringOr(name, ""));
      if (!value.empty()) return fields.Unsupported(name, "only null is supported");
    }
    if (fields.has("dropout")) {
      ASSIGN_OR_RETURN(const double dropout, fields.Number("dropout"));
      if (dropout != 0) return fields.Unsupported("dropout", "only null is supported");
    }
    ASSIGN_OR_RETURN(const bool ignore_merges, fields.BoolOr("ignore_merges", false));
    parts_.model.set_ignore_merges(ignore_merges);
    RETURN_IF_ERROR(ParseVocabulary(fields));
    return ParseMerges(fields);
  }

  absl::Status ParseVocabulary(const JsonFields& fields) {
    const Json* vocabulary = fields.Find("vocab");
    if (vocabulary == nullptr || !vocabulary->is_object()) {
      return fields.Invalid("vocab", "an object is needed");
    }
    const JsonFields entries(*vocabulary, path_, "model.vocab.");
    for (const auto& [token, value] : vocabulary->items()) {
      ASSIGN_OR_RETURN(const int64_t id, entries.Integer(token.c_str(), 0, kMaxId));
      ids_[token] = static_cast<int32_t>(id);
      std::optional<std::string> bytes = BytesOfByteLevel(token);
      // A token that isn't spelled in bytes can't come out of merging bytes; it stands for itself.
      if (bytes.has_value()) parts_.model.AddToken(*bytes, static_cast<int32_t>(id));
      RETURN_IF_ERROR(SetBytes(id, bytes.value_or(token), absl::StrCat("model.vocab.", token)));
    }
    for (int byte = 0; byte < 256; ++byte) {
      const std::string text(1, static_cast<char>(byte));
      if (parts_.model.IdOf(text) < 0) {
        return absl::InvalidArgumentError(absl::StrCat(path_, ": model.vocab: the byte ", byte,
                                                       ", spelled \"", ByteLevelOfBytes(text),
                                                       "\", is missing"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ParseMerges(const JsonFields& fields) {
    const Json* merges = fields.Find("merges");
    if (merges == nullptr || !merges->is_array()) {
      return fields.Invalid("merges", "an array is needed");
    }
    int32_t rank = 0;
    for (const Json& merge : *merges) {
      const auto invalid = [&](absl::string_view reason) {
        return absl::InvalidArgumentError(
            absl::StrCat(path_, ": model.merges[", rank, "] is ", merge.dump(), ": ", reason));
      };
      std::string left;
      std::string right;
      if (merge.is_string()) {
        const std::string pair = merge.get<std::string>();
        const size_t space = pair.find(' ');
        if (space == std::string::npos || pair.find(' ', space + 1) != std::string::npos) {
          return invalid("two tokens with a space between are needed");
        }
        left = pair.substr(0, space);
        right = pair.substr(space + 1);
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        left = merge[0].get<std::string>();
        right = merge[1].get<std::string>();
      } else {
        return invalid("two tokens are needed");
      }
      int32_t ids[3];
      const std::string tokens[3] = {left, right, absl::StrCat(left, right)};
      for (int i = 0; i < 3; ++i) {
        const auto found = ids_.find(tokens[i]);
        if (found == ids_.end()) {
          return invalid(absl::StrCat("model.vocab lacks \"", tokens[i], "\""));
        }
        ids[i] = found->second;
      }
      parts_.model.AddMerge(ids[0], ids[1], rank++, ids[2]);
    }
    return absl::OkStatus();
  }

  absl::Status ParseAddedTokens() {
    const Json* tokens = root_.Find("added_tokens");
    if (tokens == nullptr) return absl::OkStatus();
    if (!tokens->is_array()) return root_.Invalid("added_tokens", "an array is needed");
    int index = 0;
    for (const Json& json : *tokens) {
      const std::string name = absl::StrCat("added_tokens[", index++, "]");
      RETURN_IF_ERROR(CheckObject(json, name));
      const JsonFields fields(json, path_, absl::StrCat(name, "."));
      AddedToken token;
      ASSIGN_OR_RETURN(token.content, fields.String("content"));
      if (token.content.empty()) return fields.Invalid("content", "must not be empty");
      ASSIGN_OR_RETURN(const int64_t id, fields.Integer("id", 0, kMaxId));
      token.id = static_cast<int32_t>(id);
      for (const char* option : {"single_word", "lstrip", "rstrip"}) {
        ASSIGN_OR_RETURN(const bool value, fields.BoolOr(option, false));
        if (value) return fields.Unsupported(option, "only false is supported");
      }
      ASSIGN_OR_RETURN(token.normalized, fields.BoolOr("normalized", false));
      if (const auto found = ids_.find(token.content); found == ids_.end()) {
        ids_[token.content] = token.id;
        RETURN_IF_ERROR(SetBytes(id, token.content, name));
      } else if (found->second != token.id) {
        return fields.Invalid(
            "id", absl::StrCat("the vocabulary has \"", token.content, "\" as ", found->second));
      } else {
        // Matched as text, so it stands for its text, not for what its spelling would be in bytes.
        parts_.bytes[id] = token.content;
      }
      parts_.added.push_back(std::move(token));
    }
    return absl::OkStatus();
  }

  // Calls `parse` for every part of a {"type": "Sequence", `list`: [...]}.
  template <typename ParsePart>
  absl::Status ForEachPart(const JsonFields& fields, const char* list, const std::string& prefix,
                           const ParsePart& parse) {
    const Json* parts = fields.Find(list);
    if (parts == nullptr || !parts->is_array()) return fields.Invalid(list, "an array is needed");
    if (depth_ == kMaxDepth) return fields.Unsupported(list, "nested too deeply");
    ++depth_;
    int index = 0;
    for (const Json& part : *parts) {
      RETURN_IF_ERROR(parse(part, absl::StrCat(prefix, list, "[", index++, "].")));
    }
    --depth_;
    return absl::OkStatus();
  }

  absl::Status ParseNormalizer(const Json& json, const std::string& prefix) {
    RETURN_IF_ERROR(CheckObject(json, prefix));
    const JsonFields fields(json, path_, prefix);
    ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
    if (type == "NFC") {
      parts_.nfc = true;
      return absl::OkStatus();
    }
    if (type == "Sequence") {
      return ForEachPart(fields, "normalizers", prefix, [this](const Json& part, auto name) {
        return ParseNormalizer(part, name);
      });
    }
    return fields.Unsupported("type", "only NFC is supported");
  }

  absl::Status ParsePreTokenizer(const Json& json, const std::string& prefix) {
    RETURN_IF_ERROR(CheckObject(json, prefix));
    const JsonFields fields(json, path_, prefix);
    ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
    if (byte_level_) return fields.Unsupported("type", "nothing may follow ByteLevel");
    if (type == "Sequence") {
      return ForEachPart(fields, "pretokenizers", prefix, [this](const Json& part, auto name) {
        return ParsePreTokenizer(part, name);
      });
    }
    if (type == "Split") return ParseSplit(fields, prefix);
    if (type != "ByteLevel") {
      return fields.Unsupported("type", "only Split and ByteLevel are supported");
    }
    byte_level_ = true;
    parts_.prefix_space_after = parts_.splitters.size();
    ASSIGN_OR_RETURN(parts_.add_prefix_space, fields.BoolOr("add_prefix_space", true));
    ASSIGN_OR_RETURN(const bool use_regex, fields.BoolOr("use_regex", true));
    if (!use_regex) return absl::OkStatus();
    ASSIGN_OR_RETURN(auto splitter, RegexSplitter::Create(kGpt2Pattern));
    parts_.splitters.push_back(std::move(splitter));
    return absl::OkStatus();
  }

  absl::Status ParseSplit(const JsonFields& fields, const std::string& prefix) {
    ASSIGN_OR_RETURN(const std::string behavior, fields.String("behavior"));
    if (behavior != "Isolated") {
      return fields.Unsupported("behavior", "only \"Isolated\" is supported");
    }
    ASSIGN_OR_RETURN(const bool invert, fields.BoolOr("invert", false));
    if (invert) return fields.Unsupported("invert", "only false is supported");
    const Json* pattern = fields.Find("pattern");
    if (pattern == nullptr || !pattern->is_object()) {
      return fields.Invalid("pattern", "an object is needed");
    }
    const JsonFields kinds(*pattern, path_, absl::StrCat(prefix, "pattern."));
    const bool literal = kinds.has("String");
    const char* kind = literal ? "String" : "Regex";
    ASSIGN_OR_RETURN(const std::string text, kinds.String(kind));
    absl::StatusOr<std::unique_ptr<RegexSplitter>> splitter = RegexSplitter::Create(text, literal);
    if (!splitter.ok()) return kinds.Invalid(kind, splitter.status().message());
    parts_.splitters.push_back(*std::move(splitter));
    return absl::OkStatus();
  }

  absl::Status ParseDecoder(const Json& json, const std::string& prefix) {
    RETURN_IF_ERROR(CheckObject(json, prefix));
    const JsonFields fields(json, path_, prefix);
    ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
    if (type == "ByteLevel") return absl::OkStatus();
    if (type == "Sequence") {
      return ForEachPart(fields, "decoders", prefix,
                         [this](const Json& part, auto name) { return ParseDecoder(part, name); });
    }
    return fields.Unsupported("type", "only ByteLevel is supported");
  }

  absl::Status ParsePostProcessor(const Json& json, const std::string& prefix) {
    RETURN_IF_ERROR(CheckObject(json, prefix));
    const JsonFields fields(json, path_, prefix);
    ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
    // It trims offsets, which nobody asks for here.
    if (type == "ByteLevel") return absl::OkStatus();
    if (type == "Sequence") {
      return ForEachPart(fields, "processors", prefix, [this](const Json& part, auto name) {
        return ParsePostProcessor(part, name);
      });
    }
    if (type == "TemplateProcessing") return ParseTemplate(fields, prefix);
    return fields.Unsupported("type", "only ByteLevel and TemplateProcessing are supported");
  }

  // {"single": [{"SpecialToken": {"id": NAME}}, {"Sequence": {"id": "A"}}, ...],
  //  "special_tokens": {NAME: {"ids": [...]}}}
  absl::Status ParseTemplate(const JsonFields& fields, const std::string& prefix) {
    std::vector<int32_t>* side = &parts_.prefix;
    return ForEachPart(fields, "single", prefix, [&](const Json& part, const std::string& name) {
      RETURN_IF_ERROR(CheckObject(part, name));
      const JsonFields piece(part, path_, name);
      if (piece.has("Sequence")) {
        if (side == &parts_.suffix) return piece.Unsupported("Sequence", "only one is supported");
        side = &parts_.suffix;
        return absl::OkStatus();
      }
      const Json* special = piece.Find("SpecialToken");
      if (special == nullptr || !special->is_object() || !special->contains("id") ||
          !(*special)["id"].is_string()) {
        return piece.Invalid("SpecialToken", "an object with an id is needed");
      }
      return AddSpecialIds(fields, (*special)["id"].get<std::string>(), *side);
    });
  }

  absl::Status AddSpecialIds(const JsonFields& fields, const std::string& token,
                             std::vector<int32_t>& ids) {
    const Json* all = fields.Find("special_tokens");
    const bool defined = all != nullptr && all->is_object() && all->contains(token) &&
                         (*all)[token].is_object() && (*all)[token].contains("ids") &&
                         (*all)[token]["ids"].is_array();
    if (!defined) return fields.Invalid("special_tokens", absl::StrCat("lacks ids of ", token));
    for (const Json& id : (*all)[token]["ids"]) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= parts_.known.size()) {
        return fields.Invalid("special_tokens", absl::StrCat("an id of ", token, " is unknown"));
      }
      ids.push_back(id.get<int32_t>());
    }
    return absl::OkStatus();
  }

  const std::string path_;
  const JsonFields root_;
  TokenizerParts& parts_;
  StringIds ids_;  // tokens as the file spells them
  bool byte_level_ = false;
  int depth_ = 0;
};

}  // namespace

absl::StatusOr<TokenizerParts> ParseTokenizerJson(absl::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, path));
  TokenizerParts parts;
  RETURN_IF_ERROR(Parser(json, path, parts).Parse());
  return parts;
}

}  // namespace kvp

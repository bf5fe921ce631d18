#include "llm/tokenizer_json.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "llm/byte_level.h"
#include "llm/json_fields.h"
#include "llm/tokenizer_component.h"
#include "nlohmann/json.hpp"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

// Far above every model's; an id beyond it would only take memory.
constexpr int64_t kMaxId = (int64_t{1} << 24) - 1;

// The parser of one file: each method reads one part of it into `parts`.
class Parser {
 public:
  Parser(const Json& json, const std::string& path, TokenizerParts& parts)
      : path_(path), root_(json, path), parts_(parts) {}

  // "truncation" and "padding" are read past: they are for batches of a length that the caller
  // chooses, as in Hugging Face's transformers.
  absl::Status Parse() {
    RETURN_IF_ERROR(ParsePreTokenizer());
    RETURN_IF_ERROR(ParseModel());
    RETURN_IF_ERROR(ParseAddedTokens());
    RETURN_IF_ERROR(ParseNormalizer());
    RETURN_IF_ERROR(ParseDecoder());
    return ParsePostProcessing();
  }

 private:
  absl::StatusOr<TokenizerComponent> Component(const char* name) const {
    return TokenizerComponent::Create(*root_.Find(name), path_, name);
  }

  absl::Status ParsePreTokenizer() {
    if (!root_.has("pre_tokenizer")) return absl::OkStatus();
    ASSIGN_OR_RETURN(const TokenizerComponent component, Component("pre_tokenizer"));
    ASSIGN_OR_RETURN(parts_.pre_tokenizer, PreTokenizer::Parse(component));
    is_byte_level_ = parts_.pre_tokenizer->is_byte_level();
    return absl::OkStatus();
  }

  absl::Status ParseNormalizer() {
    if (!root_.has("normalizer")) return absl::OkStatus();
    ASSIGN_OR_RETURN(const TokenizerComponent component, Component("normalizer"));
    ASSIGN_OR_RETURN(parts_.normalizer, Normalizer::Parse(component));
    return absl::OkStatus();
  }

  absl::Status ParseDecoder() {
    if (!root_.has("decoder")) return root_.Unsupported("decoder", "a decoder is needed");
    ASSIGN_OR_RETURN(const TokenizerComponent component, Component("decoder"));
    ASSIGN_OR_RETURN(parts_.decoder, TokenDecoder::Parse(component));
    return absl::OkStatus();
  }

  absl::Status ParsePostProcessing() {
    if (!root_.has("post_processor")) return absl::OkStatus();
    ASSIGN_OR_RETURN(const TokenizerComponent component, Component("post_processor"));
    ASSIGN_OR_RETURN(parts_.post_processor, ParsePostProcessor(component, [this](int64_t id) {
                       return id < static_cast<int64_t>(parts_.tokens.size()) &&
                              parts_.tokens[id].is_known;
                     }));
    return absl::OkStatus();
  }

  absl::Status SetToken(int64_t id, const std::string& spelling, const std::string& name) {
    if (id >= static_cast<int64_t>(parts_.tokens.size())) parts_.tokens.resize(id + 1);
    if (parts_.tokens[id].is_known) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": ", name, ": id ", id, " stands for another token too"));
    }
    parts_.tokens[id].spelling = spelling;
    parts_.tokens[id].is_known = true;
    ids_[spelling] = static_cast<int32_t>(id);
    return absl::OkStatus();
  }

  absl::Status ParseModel() {
    const Json* json = root_.Find("model");
    if (json == nullptr || !json->is_object()) return root_.Invalid("model", "an object is needed");
    const JsonFields fields(*json, path_, "model.");
    ASSIGN_OR_RETURN(const std::string type, fields.StringOr("type", "BPE"));
    if (type != "BPE") return fields.Unsupported("type", "only \"BPE\" is supported");
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      ASSIGN_OR_RETURN(const std::string value, fields.StringOr(name, ""));
      if (!value.empty()) return fields.Unsupported(name, "only null is supported");
    }
    if (fields.has("dropout")) {
      ASSIGN_OR_RETURN(const double dropout, fields.Number("dropout"));
      if (dropout != 0) return fields.Unsupported("dropout", "only null is supported");
    }
    BpeModel::Options options;
    options.bytes = is_byte_level_;
    ASSIGN_OR_RETURN(options.ignore_merges, fields.BoolOr("ignore_merges", false));
    ASSIGN_OR_RETURN(options.byte_fallback, fields.BoolOr("byte_fallback", false));
    ASSIGN_OR_RETURN(options.fuse_unknown, fields.BoolOr("fuse_unk", false));
    RETURN_IF_ERROR(ParseVocabulary(fields));
    if (fields.has("unk_token")) {
      ASSIGN_OR_RETURN(const std::string unknown, fields.String("unk_token"));
      const auto found = ids_.find(unknown);
      if (found == ids_.end()) return fields.Invalid("unk_token", "it isn't in model.vocab");
      options.unknown_id = found->second;
    }
    parts_.model = BpeModel(options);
    RETURN_IF_ERROR(AddVocabulary());
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
      RETURN_IF_ERROR(SetToken(id, token, absl::StrCat("model.vocab.", token)));
    }
    return absl::OkStatus();
  }

  // The text that the model knows a token by, or nothing where text can't come to it by merging.
  std::optional<std::string> ModelText(const std::string& spelling) const {
    if (spelling.empty()) return std::nullopt;
    return is_byte_level_ ? BytesOfByteLevel(spelling) : spelling;
  }

  absl::Status AddVocabulary() {
    for (const auto& [spelling, id] : ids_) {
      if (const auto text = ModelText(spelling)) parts_.model.AddToken(*text, id);
    }
    for (int byte = 0; is_byte_level_ && byte < 256; ++byte) {
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
    for (const Json& merge : *merges) RETURN_IF_ERROR(ParseMerge(merge, rank++));
    return absl::OkStatus();
  }

  // "LEFT RIGHT" or ["LEFT", "RIGHT"].
  absl::Status ParseMerge(const Json& merge, int32_t rank) {
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
    for (const std::string& token : {left, right, absl::StrCat(left, right)}) {
      if (!ids_.contains(token)) return invalid(absl::StrCat("model.vocab lacks \"", token, "\""));
    }
    const std::optional<std::string> left_text = ModelText(left);
    const std::optional<std::string> right_text = ModelText(right);
    // A token that can't come up needs no merge.
    if (left_text && right_text) parts_.model.AddMerge(*left_text, *right_text, rank);
    return absl::OkStatus();
  }

  absl::Status ParseAddedTokens() {
    const Json* tokens = root_.Find("added_tokens");
    if (tokens == nullptr) return absl::OkStatus();
    if (!tokens->is_array()) return root_.Invalid("added_tokens", "an array is needed");
    int index = 0;
    for (const Json& json : *tokens) {
      const std::string name = absl::StrCat("added_tokens[", index++, "]");
      if (!json.is_object()) {
        return absl::InvalidArgumentError(absl::StrCat(path_, ": ", name, ": an object is needed"));
      }
      RETURN_IF_ERROR(ParseAddedToken(JsonFields(json, path_, absl::StrCat(name, ".")), name));
    }
    return absl::OkStatus();
  }

  absl::Status ParseAddedToken(const JsonFields& fields, const std::string& name) {
    AddedToken token;
    ASSIGN_OR_RETURN(token.content, fields.String("content"));
    if (token.content.empty()) return fields.Invalid("content", "must not be empty");
    ASSIGN_OR_RETURN(const int64_t id, fields.Integer("id", 0, kMaxId));
    token.id = static_cast<int32_t>(id);
    ASSIGN_OR_RETURN(token.normalized, fields.BoolOr("normalized", false));
    ASSIGN_OR_RETURN(token.lstrip, fields.BoolOr("lstrip", false));
    ASSIGN_OR_RETURN(token.rstrip, fields.BoolOr("rstrip", false));
    ASSIGN_OR_RETURN(token.single_word, fields.BoolOr("single_word", false));
    const auto found = ids_.find(token.content);
    if (found == ids_.end()) {
      RETURN_IF_ERROR(SetToken(id, token.content, name));
    } else if (found->second != token.id) {
      return fields.Invalid(
          "id", absl::StrCat("the vocabulary has \"", token.content, "\" as ", found->second));
    }
    parts_.tokens[id].is_added = true;
    parts_.added.push_back(std::move(token));
    return absl::OkStatus();
  }

  const std::string path_;
  const JsonFields root_;
  TokenizerParts& parts_;
  absl::flat_hash_map<std::string, int32_t> ids_;  // tokens as the file spells them
  bool is_byte_level_ = false;
};

}  // namespace

absl::StatusOr<TokenizerParts> ParseTokenizerJson(absl::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, path));
  TokenizerParts parts;
  RETURN_IF_ERROR(Parser(json, path, parts).Parse());
  return parts;
}

}  // namespace kvp

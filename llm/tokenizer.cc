#include "llm/tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "llm/added_tokens.h"
#include "llm/bpe_model.h"
#include "llm/byte_level.h"
#include "llm/tokenizer_json.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
    for (const AddedToken& token : parts_.added) {
      if (token.normalized) {
        normalized_.Add(token, parts_.normalizer == nullptr
                                   ? token.content
                                   : parts_.normalizer->Normalize(token.content));
      } else {
        verbatim_.Add(token, token.content);
      }
    }
    bytes_.reserve(parts_.tokens.size());
    for (const TokenizerParts::Token& token : parts_.tokens) {
      // An added token is matched as text, so it stands for its text, not for what its characters
      // would be as bytes.
      const bool is_text = token.is_added && IsByteLevel();
      bytes_.push_back(is_text ? token.spelling : parts_.decoder.Bytes(token.spelling));
    }
  }

  std::vector<int32_t> Encode(absl::string_view text) const override {
    return EncodeFrom(text, /*is_continuation=*/false);
  }

  std::vector<int32_t> EncodeContinuation(absl::string_view text) const override {
    return EncodeFrom(text, /*is_continuation=*/true);
  }

  std::vector<int32_t> EncodeSequence(absl::string_view text) const override {
    std::vector<int32_t> ids = parts_.post_processor.prefix;
    const std::vector<int32_t> encoded = Encode(text);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
    const std::vector<int32_t>& suffix = parts_.post_processor.suffix;
    ids.insert(ids.end(), suffix.begin(), suffix.end());
    return ids;
  }

  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const override {
    return DecodeFrom(ids, /*is_first=*/true);
  }

  absl::StatusOr<std::string> DecodeContinuation(absl::Span<const int32_t> ids) const override {
    return DecodeFrom(ids, /*is_first=*/false);
  }

  int64_t vocab_size() const override { return static_cast<int64_t>(parts_.tokens.size()); }

 private:
  bool IsByteLevel() const {
    return parts_.pre_tokenizer != nullptr && parts_.pre_tokenizer->is_byte_level();
  }

  std::vector<int32_t> EncodeFrom(absl::string_view text, bool is_continuation) const {
    std::vector<int32_t> ids;
    BpeEncoder encoder(parts_.model);
    const auto add_id = [&](int32_t id) { ids.push_back(id); };
    const auto encode = [&](const PreTokenizer::Piece& piece) { encoder.Encode(piece.text, ids); };
    verbatim_.Split(
        text,
        [&](absl::string_view raw) {
          const bool is_first = raw.data() == text.data();
          std::string storage;
          const absl::string_view normal = Normalized(raw, is_first && is_continuation, storage);
          normalized_.Split(
              normal,
              [&](absl::string_view plain) {
                PreTokenizer::Piece piece;
                piece.text = plain;
                const bool is_beginning = is_first && plain.data() == normal.data();
                piece.at_start = is_beginning && !is_continuation;
                piece.continues = is_beginning && is_continuation;
                if (parts_.pre_tokenizer == nullptr) {
                  encode(piece);
                } else {
                  parts_.pre_tokenizer->Split(piece, encode);
                }
              },
              add_id);
        },
        add_id);
    return ids;
  }

  absl::string_view Normalized(absl::string_view text, bool continues, std::string& storage) const {
    if (parts_.normalizer == nullptr) return text;
    storage = continues ? parts_.normalizer->NormalizeContinuation(text)
                        : parts_.normalizer->Normalize(text);
    return storage;
  }

  absl::StatusOr<std::string> DecodeFrom(absl::Span<const int32_t> ids, bool is_first) const {
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || ids[i] >= vocab_size() || !parts_.tokens[ids[i]].is_known) {
        return absl::OutOfRangeError(
            absl::StrCat("token ", i, " is ", ids[i], ": not in the vocabulary of ", vocab_size()));
      }
      const bool strips = is_first && i == 0 && !IsByteLevel();
      absl::StrAppend(&text, strips ? parts_.decoder.FirstBytes(parts_.tokens[ids[i]].spelling)
                                    : bytes_[ids[i]]);
    }
    return text;
  }

  const TokenizerParts parts_;
  AddedTokenFinder verbatim_;
  AddedTokenFinder normalized_;
  std::vector<std::string> bytes_;  // of each id, in the middle of a text
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return Parse(text, path);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Parse(absl::string_view text,
                                                            const std::string& path) {
  ASSIGN_OR_RETURN(TokenizerParts parts, ParseTokenizerJson(text, path));
  return std::make_unique<BpeTokenizer>(std::move(parts));
}

}  // namespace kvp

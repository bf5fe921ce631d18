#include "llm/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "llm/tokenizer_json.h"
#include "utf8proc.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Pieces that one Encode remembers, so that a repeated word is merged once.
constexpr size_t kMaxCachedPieces = 1 << 14;

const utf8proc_uint8_t* Utf8(absl::string_view text) {
  return reinterpret_cast<const utf8proc_uint8_t*>(text.data());
}

// The length of the longest beginning of `text` that is UTF-8.
size_t ValidUtf8Prefix(absl::string_view text) {
  size_t size = 0;
  while (size < text.size()) {
    utf8proc_int32_t character;
    const utf8proc_ssize_t bytes = utf8proc_iterate(
        Utf8(text) + size, static_cast<utf8proc_ssize_t>(text.size() - size), &character);
    if (bytes <= 0) break;
    size += bytes;
  }
  return size;
}

// Unicode's normalization form C; bytes that aren't UTF-8 stay as they are.
std::string Nfc(absl::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t valid = ValidUtf8Prefix(text);
    if (valid > 0) {
      utf8proc_uint8_t* composed = nullptr;
      const utf8proc_ssize_t size =
          utf8proc_map(Utf8(text), static_cast<utf8proc_ssize_t>(valid), &composed,
                       static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
      if (size >= 0) {
        result.append(reinterpret_cast<const char*>(composed), size);
      } else {
        absl::StrAppend(&result, text.substr(0, valid));
      }
      std::free(composed);
      text.remove_prefix(valid);
    }
    if (!text.empty()) {
      result.push_back(text[0]);
      text.remove_prefix(1);
    }
  }
  return result;
}

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char byte) { return (byte & 0x80) == 0; });
}

// Finds added tokens in text: the leftmost, and of several at one place the longest.
class AddedTokenFinder {
 public:
  void Add(std::string content, int32_t id) {
    std::vector<Entry>& entries = by_first_byte_[static_cast<uint8_t>(content[0])];
    entries.push_back({std::move(content), id});
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return a.content.size() > b.content.size();
    });
    empty_ = false;
  }

  // Calls `text_between` and `token` in the text's order.
  template <typename TextBetween, typename Token>
  void Split(absl::string_view text, const TextBetween& text_between, const Token& token) const {
    size_t done = 0;
    for (size_t i = 0; !empty_ && i < text.size();) {
      const Entry* entry = At(text.substr(i));
      if (entry == nullptr) {
        ++i;
        continue;
      }
      if (i > done) text_between(text.substr(done, i - done));
      token(entry->id);
      i += entry->content.size();
      done = i;
    }
    if (done < text.size()) text_between(text.substr(done));
  }

 private:
  struct Entry {
    std::string content;
    int32_t id;
  };

  const Entry* At(absl::string_view text) const {
    for (const Entry& entry : by_first_byte_[static_cast<uint8_t>(text[0])]) {
      if (absl::StartsWith(text, entry.content)) return &entry;
    }
    return nullptr;
  }

  std::array<std::vector<Entry>, 256> by_first_byte_;
  bool empty_ = true;
};

class ByteLevelTokenizer : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
    for (const AddedToken& token : parts_.added) {
      if (token.normalized) {
        normalized_.Add(parts_.nfc ? Nfc(token.content) : token.content, token.id);
      } else {
        verbatim_.Add(token.content, token.id);
      }
    }
  }

  std::vector<int32_t> Encode(absl::string_view text) const override {
    Encoding encoding;
    const auto add_id = [&](int32_t id) { encoding.ids.push_back(id); };
    const auto split = [&](absl::string_view normalized) {
      normalized_.Split(
          normalized, [&](absl::string_view plain) { Pretokenize(plain, 0, encoding); }, add_id);
    };
    verbatim_.Split(
        text,
        [&](absl::string_view plain) {
          if (parts_.nfc && !IsAscii(plain)) {
            split(Nfc(plain));
          } else {
            split(plain);
          }
        },
        add_id);
    return std::move(encoding.ids);
  }

  std::vector<int32_t> EncodeSequence(absl::string_view text) const override {
    std::vector<int32_t> ids = parts_.prefix;
    const std::vector<int32_t> encoded = Encode(text);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
    ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
    return ids;
  }

  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const override {
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || ids[i] >= vocab_size() || !parts_.known[ids[i]]) {
        return absl::OutOfRangeError(
            absl::StrCat("token ", i, " is ", ids[i], ": not in the vocabulary of ", vocab_size()));
      }
      text += parts_.bytes[ids[i]];
    }
    return text;
  }

  int64_t vocab_size() const override { return parts_.known.size(); }

 private:
  // The state of one Encode.
  struct Encoding {
    std::vector<int32_t> ids;
    absl::flat_hash_map<std::string, std::vector<int32_t>> pieces;
  };

  // Puts `text` through the splitters from `step` on, then through the model.
  void Pretokenize(absl::string_view text, size_t step, Encoding& encoding) const {
    if (text.empty()) return;
    std::string with_space;
    if (parts_.add_prefix_space && step == parts_.prefix_space_after && text[0] != ' ') {
      with_space = absl::StrCat(" ", text);
      text = with_space;
    }
    if (step == parts_.splitters.size()) {
      EncodePiece(text, encoding);
      return;
    }
    parts_.splitters[step]->Split(
        text, [&](absl::string_view piece) { Pretokenize(piece, step + 1, encoding); });
  }

  void EncodePiece(absl::string_view piece, Encoding& encoding) const {
    const auto found = encoding.pieces.find(piece);
    if (found != encoding.pieces.end()) {
      encoding.ids.insert(encoding.ids.end(), found->second.begin(), found->second.end());
      return;
    }
    const size_t before = encoding.ids.size();
    parts_.model.Encode(piece, encoding.ids);
    if (encoding.pieces.size() < kMaxCachedPieces) {
      encoding.pieces[std::string(piece)].assign(encoding.ids.begin() + before, encoding.ids.end());
    }
  }

  const TokenizerParts parts_;
  AddedTokenFinder verbatim_;
  AddedTokenFinder normalized_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return Parse(text, path);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Parse(absl::string_view text,
                                                            const std::string& path) {
  ASSIGN_OR_RETURN(TokenizerParts parts, ParseTokenizerJson(text, path));
  return std::make_unique<ByteLevelTokenizer>(std::move(parts));
}

}  // namespace kvp

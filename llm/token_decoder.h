// Decoders of a tokenizer.json: the text that a token stands for.

#ifndef KVP_LLM_TOKEN_DECODER_H_
#define KVP_LLM_TOKEN_DECODER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/tokenizer_component.h"

namespace kvp {

// Immutable; thread-safe.
class TokenDecoder {
 public:
  // Understood are
  //   ByteLevel     characters stand for bytes (llm/byte_level.h)
  //   Metaspace     `replacement` stands for a space, and in a text's first token, unless nothing
  //                 is prepended, for nothing
  //   Replace       `content` for each match of `pattern`, a string
  //   ByteFallback  <0x00> to <0xFF> stand for bytes (llm/byte_fallback.h)
  //   Fuse          makes one text of the tokens
  //   Strip         takes up to `start` times the character `content` from the beginning of each
  //                 token, up to `stop` times from its end; behind Fuse, from the whole text, of
  //                 which only a start of at most 1 is supported
  //   Sequence      of `decoders`
  // and of ByteFallback and Fuse the usual order: nothing but Strip follows them. UNIMPLEMENTED,
  // naming it, for another; INVALID_ARGUMENT, naming file, field and value, for one that is
  // malformed.
  static absl::StatusOr<TokenDecoder> Parse(const TokenizerComponent& component);

  // The bytes of a token in the middle of a text, and as the first one of a text.
  std::string Bytes(absl::string_view token) const { return Apply(token, /*is_first=*/false); }
  std::string FirstBytes(absl::string_view token) const;

 private:
  struct Step {
    enum class Kind { kByteLevel, kMetaspace, kReplace, kByteFallback, kStrip };
    Kind kind;
    std::string from;
    std::string to;
    size_t start = 0;
    size_t stop = 0;
    bool strips_first = false;
  };

  absl::Status AddStep(const TokenizerComponent& component);
  absl::Status AddReplace(const TokenizerComponent& component);
  absl::Status AddStrip(const TokenizerComponent& component);
  absl::Status AddMetaspace(const TokenizerComponent& component);
  std::string Apply(absl::string_view token, bool is_first) const;

  std::vector<Step> steps_;
  double growth_ = 1;  // how many times as long the steps may make a token
  bool has_byte_fallback_ = false;
  bool is_fused_ = false;
  std::string strip_from_text_;  // once from its beginning; empty for nothing
};

}  // namespace kvp

#endif  // KVP_LLM_TOKEN_DECODER_H_

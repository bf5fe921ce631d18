// Byte-pair encoding from a Hugging Face tokenizer.json, of both kinds: of bytes, as GPT-2, Llama
// 3, Qwen and Phi-4 have it, and of characters, as SentencePiece's in Llama 2, Mistral and Gemma.
//
// A text becomes tokens in the steps of Hugging Face's `tokenizers`, each in its own file:
//
//   added_tokens.h    special tokens are found in the text,
//   normalizer.h      what lies between is normalized,
//   pre_tokenizer.h   and split into pieces,
//   bpe_model.h       whose bytes or characters are merged to tokens;
//   post_processor.h  a begin-of-sequence token and its like go around;
//   token_decoder.h   and back from tokens to text.
//
// The ids are those of `tokenizers`. Regular expressions are PCRE2's, which agree with its own
// (Oniguruma) up to characters that differ between the Unicode versions of the two; an expression
// that the two read differently is refused. What isn't UTF-8, which `tokenizers` never sees, is
// encoded byte by byte.

#ifndef KVP_LLM_TOKENIZER_H_
#define KVP_LLM_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace kvp {

// Immutable after loading; thread-safe.
class Tokenizer {
 public:
  // Reads `path`, a tokenizer.json. NOT_FOUND where it isn't there; INVALID_ARGUMENT, naming file,
  // field and value, where it is malformed; UNIMPLEMENTED, naming it, for a part that isn't
  // supported.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& path);
  // As Load, from the file's text.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(absl::string_view text,
                                                          const std::string& path);

  virtual ~Tokenizer() = default;

  // Token ids of `text`; any bytes are accepted. Special tokens written in the text become their
  // ids. Takes time near-linear in the text, however it splits.
  virtual std::vector<int32_t> Encode(absl::string_view text) const = 0;
  // As Encode, with what the file's post-processor puts around a text, as a begin-of-sequence
  // token.
  virtual std::vector<int32_t> EncodeSequence(absl::string_view text) const = 0;
  // As Encode, for text right behind other text, as an answer behind its prompt: what the file puts
  // before the beginning of every text, as SentencePiece's "▁", isn't put there. The ids are those
  // at the end of both texts' encoding, unless a token or a piece of the pre-tokenizer goes across
  // the border; of a tokenizer that puts nothing there they are Encode's.
  virtual std::vector<int32_t> EncodeContinuation(absl::string_view text) const {
    return Encode(text);
  }
  // The bytes of the tokens, concatenated, special tokens among them: UTF-8 only as far as the
  // tokens are whole characters. A space that the vocabulary puts before every text, as
  // SentencePiece's do, is taken away. OUT_OF_RANGE for an id outside the vocabulary.
  virtual absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const = 0;
  // As Decode, for tokens that follow others: nothing is taken from their beginning.
  virtual absl::StatusOr<std::string> DecodeContinuation(absl::Span<const int32_t> ids) const {
    return Decode(ids);
  }
  // Ids of the vocabulary and added tokens: [0, vocab_size).
  virtual int64_t vocab_size() const = 0;
};

}  // namespace kvp

#endif  // KVP_LLM_TOKENIZER_H_

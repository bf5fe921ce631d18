// Byte-level BPE from a Hugging Face tokenizer.json, as GPT-2, Llama 3 and Qwen have it.
//
// What is understood: a BPE model; ByteLevel as pre-tokenizer, alone or after Splits by regular
// expressions ("Isolated"); NFC or no normalizer; added tokens, which are found in the text before
// all else; ByteLevel as decoder; ByteLevel and TemplateProcessing as post-processor. The regular
// expressions are PCRE2's, which agree with Hugging Face's (Oniguruma) on the patterns in use, up
// to characters that differ between the Unicode versions of the two.

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
  // field and value, where it is malformed; UNIMPLEMENTED, naming it, for a normalizer,
  // pre-tokenizer or model that isn't supported.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& path);
  // As Load, from the file's text.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(absl::string_view text,
                                                          const std::string& path);

  virtual ~Tokenizer() = default;

  // Token ids of `text`; any bytes are accepted. Special tokens written in the text become their
  // ids.
  virtual std::vector<int32_t> Encode(absl::string_view text) const = 0;
  // As Encode, with what the file's post-processor puts around a text, as a begin-of-sequence
  // token.
  virtual std::vector<int32_t> EncodeSequence(absl::string_view text) const = 0;
  // The bytes of the tokens, concatenated. OUT_OF_RANGE for an id outside the vocabulary.
  virtual absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const = 0;
  // Ids of the vocabulary and added tokens: [0, vocab_size).
  virtual int64_t vocab_size() const = 0;
};

}  // namespace kvp

#endif  // KVP_LLM_TOKENIZER_H_

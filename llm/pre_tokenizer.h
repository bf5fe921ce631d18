// Pre-tokenizers of a tokenizer.json: where text is cut before byte-pair encoding.

#ifndef KVP_LLM_PRE_TOKENIZER_H_
#define KVP_LLM_PRE_TOKENIZER_H_

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/tokenizer_component.h"

namespace kvp {

// Immutable; thread-safe.
class PreTokenizer {
 public:
  struct Piece {
    absl::string_view text;  // not empty
    // Whether it is from the beginning of what is encoded, with nothing before it.
    bool at_start = false;
    // Whether text that isn't encoded here comes right before it, so that no space is put there.
    bool continues = false;
  };
  using Sink = absl::FunctionRef<void(const Piece& piece)>;

  // Understood are
  //   Split      by a `pattern`, with every `behavior`, inverted or not
  //   Digits     by numbers (`individual_digits`)
  //   Metaspace  writes `replacement` for each space, puts one before a text that has none there
  //              ("prepend_scheme": "always"; "first": at_start only; "never"; the older
  //              "add_prefix_space": true or false means always or never), and unless `split` is
  //              false splits before each
  //   ByteLevel  a space before a piece that has none (`add_prefix_space`), GPT-2's pattern
  //              (`use_regex`), and bytes from there on: so it must be the last
  //   Sequence   of `pretokenizers`
  // UNIMPLEMENTED, naming it, for another; INVALID_ARGUMENT, naming file, field and value, for one
  // that is malformed.
  static absl::StatusOr<std::unique_ptr<PreTokenizer>> Parse(const TokenizerComponent& component);

  virtual ~PreTokenizer() = default;

  // Calls `sink` with the pieces, in order, which live as long as the call.
  virtual void Split(const Piece& piece, Sink sink) const = 0;
  // Whether ByteLevel is there, so that the vocabulary is one of bytes.
  virtual bool is_byte_level() const { return false; }
  // Of a sequence, sequences within it counted out. Each takes stack.
  virtual size_t steps() const { return 1; }
};

}  // namespace kvp

#endif  // KVP_LLM_PRE_TOKENIZER_H_

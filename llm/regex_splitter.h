// Splits text by a regular expression, as tokenizers do before byte-pair encoding.

#ifndef KVP_LLM_REGEX_SPLITTER_H_
#define KVP_LLM_REGEX_SPLITTER_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

// The pattern that GPT-2's tokenizer splits by: ByteLevel's with use_regex.
extern const char kGpt2Pattern[];

// Immutable; thread-safe.
class RegexSplitter {
 public:
  // `pattern` in the syntax that PCRE2 and Oniguruma share, with Unicode properties, where \s and
  // \S mean Unicode's White_Space, as in Oniguruma; or, where `literal` is set, text that stands
  // for itself. INVALID_ARGUMENT, with the place and the reason, where it is no regular expression.
  static absl::StatusOr<std::unique_ptr<RegexSplitter>> Create(const std::string& pattern,
                                                               bool literal = false);
  ~RegexSplitter();

  // Calls `piece` with each match and each stretch between matches, in order: together they are
  // `text`. Bytes that aren't UTF-8 match nothing. A match that would take more than PCRE2's limit
  // of ten million steps counts as none.
  void Split(absl::string_view text,
             absl::FunctionRef<void(absl::string_view piece, bool is_match)> piece) const;

  // Whether the expression can match between two characters, without covering any.
  bool MatchesEmpty() const;

 private:
  struct Pattern;
  explicit RegexSplitter(std::unique_ptr<Pattern> pattern);

  std::unique_ptr<Pattern> pattern_;
};

}  // namespace kvp

#endif  // KVP_LLM_REGEX_SPLITTER_H_

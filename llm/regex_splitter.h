// Splits text into the pieces that byte-pair encoding works on, by a regular expression.

#ifndef KVP_LLM_REGEX_SPLITTER_H_
#define KVP_LLM_REGEX_SPLITTER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

// The pattern that GPT-2's tokenizer splits by: ByteLevel's with use_regex.
extern const char kGpt2Pattern[];

// Immutable; thread-safe.
class RegexSplitter {
 public:
  // `pattern` in PCRE2's syntax, with Unicode properties; or, where `literal` is set, text that
  // stands for itself. INVALID_ARGUMENT, with the place and the reason, where it is no regular
  // expression.
  static absl::StatusOr<std::unique_ptr<RegexSplitter>> Create(const std::string& pattern,
                                                               bool literal = false);
  ~RegexSplitter();

  // Calls `piece` with each match and each stretch between matches, in order: together they are
  // `text`. Bytes that aren't UTF-8 match nothing.
  void Split(absl::string_view text, const std::function<void(absl::string_view)>& piece) const;

 private:
  struct Pattern;
  explicit RegexSplitter(std::unique_ptr<Pattern> pattern);

  std::unique_ptr<Pattern> pattern_;
};

}  // namespace kvp

#endif  // KVP_LLM_REGEX_SPLITTER_H_

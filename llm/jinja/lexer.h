// A template's text in tokens.

#ifndef KVP_LLM_JINJA_LEXER_H_
#define KVP_LLM_JINJA_LEXER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp::jinja {

struct Token {
  enum class Kind {
    kData,           // text outside of tags
    kVariableBegin,  // {{
    kVariableEnd,
    kBlockBegin,  // {%
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind;
  std::string text;  // of a string, what it stands for
  int line;
};

// White space is as chat templates have it at Hugging Face's: a line break behind a block is taken
// away (trim_blocks), white space before a block that begins its line too (lstrip_blocks), "-" at a
// tag takes all of it on that side, "+" none; comments are left out. INVALID_ARGUMENT, naming the
// line, for what is no token.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

// White space as Python's str.strip() takes it.
bool IsPythonSpace(int32_t code_point);
absl::string_view StripLeft(absl::string_view text);
absl::string_view StripRight(absl::string_view text);

}  // namespace kvp::jinja

#endif  // KVP_LLM_JINJA_LEXER_H_

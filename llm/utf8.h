// UTF-8, character by character, in text that need not be UTF-8 throughout.

#ifndef KVP_LLM_UTF8_H_
#define KVP_LLM_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace kvp {

struct Utf8Character {
  int32_t code_point;  // -1 for a byte that belongs to no character
  size_t bytes;
};

// The first or last character of a text that isn't empty; where there is none, the byte there.
Utf8Character FirstCharacter(absl::string_view text);
Utf8Character LastCharacter(absl::string_view text);

void AppendCharacter(int32_t code_point, std::string& text);

// Unicode's property White_Space; \s in the regular expressions of Hugging Face's tokenizers.
bool IsWhiteSpace(int32_t code_point);
// \w of Unicode's technical standard 18: letters, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(int32_t code_point);

}  // namespace kvp

#endif  // KVP_LLM_UTF8_H_

#include "llm/utf8.h"

#include <algorithm>

#include "utf8proc.h"

namespace kvp {
namespace {

constexpr size_t kMaxCharacterBytes = 4;

// Letters that Unicode counts among the symbols: circled, squared.
bool IsSymbolLetter(int32_t c) {
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

}  // namespace

Utf8Character FirstCharacter(absl::string_view text) {
  const uint8_t first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return {first, 1};
  utf8proc_int32_t code_point;
  const utf8proc_ssize_t bytes =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                       static_cast<utf8proc_ssize_t>(text.size()), &code_point);
  if (bytes <= 0) return {-1, 1};
  return {code_point, static_cast<size_t>(bytes)};
}

Utf8Character LastCharacter(absl::string_view text) {
  const size_t most = std::min(text.size(), kMaxCharacterBytes);
  for (size_t bytes = 1; bytes <= most; ++bytes) {
    const Utf8Character character = FirstCharacter(text.substr(text.size() - bytes));
    if (character.code_point >= 0 && character.bytes == bytes) return character;
  }
  return {-1, 1};
}

void AppendCharacter(int32_t code_point, std::string& text) {
  utf8proc_uint8_t encoded[kMaxCharacterBytes];
  const utf8proc_ssize_t size = utf8proc_encode_char(code_point, encoded);
  text.append(reinterpret_cast<const char*>(encoded), size);
}

bool IsWhiteSpace(int32_t c) {
  return (c >= '\t' && c <= '\r') || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool IsWordCharacter(int32_t c) {
  if (c < 0) return false;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return c == 0x200C || c == 0x200D || IsSymbolLetter(c);
  }
}

}  // namespace kvp

#include "llm/byte_fallback.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"

namespace kvp {

std::optional<uint8_t> ByteOfFallbackToken(absl::string_view token) {
  const bool has_form = token.size() == 6 && absl::StartsWith(token, "<0x") && token[5] == '>' &&
                        absl::ascii_isxdigit(token[3]) && absl::ascii_isxdigit(token[4]);
  if (!has_form) return std::nullopt;
  return static_cast<uint8_t>(absl::HexStringToBytes(token.substr(3, 2))[0]);
}

std::string FallbackTokenOfByte(uint8_t byte) { return absl::StrFormat("<0x%02X>", byte); }

}  // namespace kvp

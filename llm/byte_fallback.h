// SentencePiece's tokens for single bytes, <0x00> to <0xFF>, which stand in for characters that a
// vocabulary lacks.

#ifndef KVP_LLM_BYTE_FALLBACK_H_
#define KVP_LLM_BYTE_FALLBACK_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace kvp {

// The byte that `token` stands for; nothing for any other token. Hexadecimal digits of either case.
std::optional<uint8_t> ByteOfFallbackToken(absl::string_view token);

// Its spelling in vocabularies, with capital digits.
std::string FallbackTokenOfByte(uint8_t byte);

}  // namespace kvp

#endif  // KVP_LLM_BYTE_FALLBACK_H_

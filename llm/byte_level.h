// GPT-2's spelling of bytes as printable characters, in which byte-level vocabularies are written.

#ifndef KVP_LLM_BYTE_LEVEL_H_
#define KVP_LLM_BYTE_LEVEL_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace kvp {

// Bytes that are printable in Latin-1 stand for themselves, the 68 others, in order, for U+0100,
// U+0101, ...: so a space is "Ġ" (U+0120). Gives the bytes of a token that is spelled so, or
// nothing where a character stands for no byte.
std::optional<std::string> BytesOfByteLevel(absl::string_view spelled);

// The spelling of any bytes.
std::string ByteLevelOfBytes(absl::string_view bytes);

}  // namespace kvp

#endif  // KVP_LLM_BYTE_LEVEL_H_

#include "llm/byte_level.h"

#include <array>
#include <cstdint>

#include "utf8proc.h"

namespace kvp {
namespace {

constexpr int kFirstRemapped = 0x100;
constexpr int kRemapped = 68;

bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Tables {
  std::array<int, 256> character_of_byte;
  std::array<uint8_t, kFirstRemapped + kRemapped> byte_of_character;
  std::array<bool, kFirstRemapped + kRemapped> is_byte{};

  Tables() {
    int remapped = kFirstRemapped;
    for (int byte = 0; byte < 256; ++byte) {
      const int character = StandsForItself(byte) ? byte : remapped++;
      character_of_byte[byte] = character;
      byte_of_character[character] = static_cast<uint8_t>(byte);
      is_byte[character] = true;
    }
  }
};

const Tables& GetTables() {
  static const Tables tables;
  return tables;
}

}  // namespace

std::optional<std::string> BytesOfByteLevel(absl::string_view spelled) {
  const Tables& tables = GetTables();
  std::string bytes;
  while (!spelled.empty()) {
    utf8proc_int32_t character;
    const utf8proc_ssize_t size = utf8proc_iterate(
        reinterpret_cast<const utf8proc_uint8_t*>(spelled.data()), spelled.size(), &character);
    if (size <= 0 || character >= static_cast<int>(tables.is_byte.size()) ||
        !tables.is_byte[character]) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(tables.byte_of_character[character]));
    spelled.remove_prefix(size);
  }
  return bytes;
}

std::string ByteLevelOfBytes(absl::string_view bytes) {
  std::string spelled;
  for (const char byte : bytes) {
    utf8proc_uint8_t encoded[4];
    const utf8proc_ssize_t size =
        utf8proc_encode_char(GetTables().character_of_byte[static_cast<uint8_t>(byte)], encoded);
    spelled.append(reinterpret_cast<const char*>(encoded), size);
  }
  return spelled;
}

}  // namespace kvp

#include "llm/utf8_stream.h"

#include <cstdint>

namespace kvp {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

// Bytes of the character that `first` begins; 0 where it begins none.
size_t CharacterBytes(uint8_t first) {
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return 2;
  if (first >= 0xE0 && first <= 0xEF) return 3;
  if (first >= 0xF0 && first <= 0xF4) return 4;
  return 0;
}

// Whether `byte` may stand at `place` (1, 2 or 3) of a character that `first` begins: Unicode's
// table 3-7.
bool MayFollow(uint8_t first, size_t place, uint8_t byte) {
  if (place == 1) {
    if (first == 0xE0) return byte >= 0xA0 && byte <= 0xBF;
    if (first == 0xED) return byte >= 0x80 && byte <= 0x9F;
    if (first == 0xF0) return byte >= 0x90 && byte <= 0xBF;
    if (first == 0xF4) return byte >= 0x80 && byte <= 0x8F;
  }
  return byte >= 0x80 && byte <= 0xBF;
}

}  // namespace

std::string Utf8Stream::Push(absl::string_view bytes) {
  std::string complete;
  for (const char c : bytes) {
    const uint8_t byte = static_cast<uint8_t>(c);
    if (!pending_.empty()) {
      const uint8_t first = static_cast<uint8_t>(pending_[0]);
      if (MayFollow(first, pending_.size(), byte)) {
        pending_ += c;
        if (pending_.size() == CharacterBytes(first)) {
          complete += pending_;
          pending_.clear();
        }
        continue;
      }
      complete += kReplacement;
      pending_.clear();
    }
    switch (CharacterBytes(byte)) {
      case 0:
        complete += kReplacement;
        break;
      case 1:
        complete += c;
        break;
      default:
        pending_ += c;
    }
  }
  return complete;
}

std::string Utf8Stream::Finish() {
  if (pending_.empty()) return "";
  pending_.clear();
  return kReplacement;
}

}  // namespace kvp

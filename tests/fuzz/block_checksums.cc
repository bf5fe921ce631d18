#include "tests/fuzz/block_checksums.h"

#include <cstdint>
#include <cstring>

#include "util/crc32c.h"

namespace kvp {
namespace {

constexpr size_t kHeaderCrcOffset = 60;
constexpr size_t kCrcBytes = 4;

// The CRC of what is before `offset`, at `offset`.
void PutCrc(size_t offset, std::string& bytes) {
  const uint32_t crc = Crc32c(absl::string_view(bytes).substr(0, offset));
  std::memcpy(&bytes[offset], &crc, kCrcBytes);
}

}  // namespace

std::string WithChecksums(absl::string_view block) {
  std::string bytes(block);
  if (bytes.size() < kHeaderCrcOffset + 2 * kCrcBytes) return bytes;
  PutCrc(kHeaderCrcOffset, bytes);
  PutCrc(bytes.size() - kCrcBytes, bytes);
  return bytes;
}

}  // namespace kvp

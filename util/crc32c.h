// CRC32C (Castagnoli), as iSCSI, RocksDB and ext4 use it: the checksum of every stored payload.

#ifndef KVP_UTIL_CRC32C_H_
#define KVP_UTIL_CRC32C_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace kvp {

// CRC32C of `data`, continuing from `crc` (the CRC32C of what precedes it; 0 to begin). In hardware
// (SSE4.2) where the processor has it, else by table. Thread-safe.
uint32_t Crc32c(absl::string_view data, uint32_t crc = 0);

namespace internal {
// The table-driven version, for processors without SSE4.2 and for tests.
uint32_t Crc32cPortable(absl::string_view data, uint32_t crc);
}  // namespace internal

}  // namespace kvp

#endif  // KVP_UTIL_CRC32C_H_

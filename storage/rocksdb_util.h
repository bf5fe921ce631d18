// Between RocksDB's types and absl's: the one mapping of its statuses, and its string views.

#ifndef KVP_STORAGE_ROCKSDB_UTIL_H_
#define KVP_STORAGE_ROCKSDB_UTIL_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "rocksdb/options.h"
#include "rocksdb/slice.h"
#include "rocksdb/status.h"

namespace kvp {

// Corruption becomes DATA_LOSS, a full disk RESOURCE_EXHAUSTED, a missing key NOT_FOUND, an I/O
// error INTERNAL (not UNAVAILABLE: trying again doesn't help a broken disk). `what` begins the
// message.
absl::Status FromRocksdb(const rocksdb::Status& status, absl::string_view what);

// Writes return when what they wrote survives a power cut.
rocksdb::WriteOptions Synced();

inline rocksdb::Slice ToSlice(absl::string_view text) { return {text.data(), text.size()}; }
inline absl::string_view ToView(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

}  // namespace kvp

#endif  // KVP_STORAGE_ROCKSDB_UTIL_H_

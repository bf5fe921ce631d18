// Keys and small values of a shard's column families: the one place where they are encoded.
// FORMAT.md describes them and says why.

#ifndef KVP_STORAGE_KEY_ENCODING_H_
#define KVP_STORAGE_KEY_ENCODING_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/head_block.h"

namespace kvp {

// Key of a block's bytes. An epoch is what was written together.
struct BlockKey {
  uint64_t epoch = 0;
  HeadBlockKey block;
};
std::string EncodeBlockKey(const BlockKey& key);
// What all block keys of an epoch begin with.
std::string EncodeEpoch(uint64_t epoch);
// DATA_LOSS where the bytes are no such key.
absl::StatusOr<BlockKey> DecodeBlockKey(absl::string_view bytes);

// Key of a block's entry in the index: what a trace has is one contiguous range.
std::string EncodeIndexKey(const HeadBlockKey& key);
absl::StatusOr<HeadBlockKey> DecodeIndexKey(absl::string_view bytes);
// What all index keys of a trace, or of a head in a trace, begin with.
std::string IndexPrefix(const TraceId& trace_id);
std::string IndexPrefix(const TraceId& trace_id, HeadId head);

// What the index says of a block, so that commits, lists and sweeps never read the blocks
// themselves.
struct IndexEntry {
  int32_t first_token = 0;
  int32_t tokens = 0;
  int32_t head_dim = 0;
  int32_t cuts = 0;
  int32_t encoded_bytes = 0;
  // When it was stored, in seconds since 1970.
  int64_t stored_at_s = 0;
  // Where it is: see BlockKey.
  uint64_t epoch = 0;
};

std::string EncodeIndexEntry(const IndexEntry& entry);
// DATA_LOSS where the bytes are no such entry.
absl::StatusOr<IndexEntry> DecodeIndexEntry(absl::string_view bytes);

// A trace id's 16 bytes: the key of its record.
std::string EncodeTraceId(const TraceId& id);

}  // namespace kvp

#endif  // KVP_STORAGE_KEY_ENCODING_H_

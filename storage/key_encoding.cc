#include "storage/key_encoding.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr size_t kTraceIdBytes = 16;
constexpr size_t kKeyBytes = 4 + 4 + kTraceIdBytes + 4;
constexpr size_t kEpochBytes = 8;
constexpr size_t kEntryBytes = 5 * 4 + 8 + kEpochBytes;

void AppendBigEndian(uint64_t value, int bytes, std::string* out) {
  for (int i = bytes - 1; i >= 0; --i) out->push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t GetBigEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

int32_t GetInt32(absl::string_view bytes, size_t offset) {
  return static_cast<int32_t>(GetBigEndian(bytes.substr(offset, 4)));
}

void AppendTraceId(const TraceId& id, std::string* out) { out->append(id.begin(), id.end()); }

absl::Status CheckSize(absl::string_view what, absl::string_view bytes, size_t size) {
  if (bytes.size() == size) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(what, " has ", bytes.size(), " bytes, not ", size));
}

}  // namespace

std::string EncodeEpoch(uint64_t epoch) {
  std::string bytes;
  AppendBigEndian(epoch, kEpochBytes, &bytes);
  return bytes;
}

std::string EncodeBlockKey(const BlockKey& key) {
  std::string bytes;
  bytes.reserve(kEpochBytes + kKeyBytes);
  AppendBigEndian(key.epoch, kEpochBytes, &bytes);
  AppendBigEndian(key.block.head.layer, 4, &bytes);
  AppendBigEndian(key.block.head.kv_head, 4, &bytes);
  AppendTraceId(key.block.trace_id, &bytes);
  AppendBigEndian(key.block.block, 4, &bytes);
  return bytes;
}

absl::StatusOr<BlockKey> DecodeBlockKey(absl::string_view bytes) {
  RETURN_IF_ERROR(CheckSize("block key", bytes, kEpochBytes + kKeyBytes));
  BlockKey key;
  key.epoch = GetBigEndian(bytes.substr(0, kEpochBytes));
  bytes.remove_prefix(kEpochBytes);
  key.block.head = {GetInt32(bytes, 0), GetInt32(bytes, 4)};
  std::copy_n(bytes.begin() + 8, kTraceIdBytes, key.block.trace_id.begin());
  key.block.block = GetInt32(bytes, 8 + kTraceIdBytes);
  return key;
}

std::string IndexPrefix(const TraceId& trace_id) { return EncodeTraceId(trace_id); }

std::string IndexPrefix(const TraceId& trace_id, HeadId head) {
  std::string bytes;
  bytes.reserve(kKeyBytes);
  AppendTraceId(trace_id, &bytes);
  AppendBigEndian(head.layer, 4, &bytes);
  AppendBigEndian(head.kv_head, 4, &bytes);
  return bytes;
}

std::string EncodeIndexKey(const HeadBlockKey& key) {
  std::string bytes = IndexPrefix(key.trace_id, key.head);
  AppendBigEndian(key.block, 4, &bytes);
  return bytes;
}

absl::StatusOr<HeadBlockKey> DecodeIndexKey(absl::string_view bytes) {
  RETURN_IF_ERROR(CheckSize("index key", bytes, kKeyBytes));
  HeadBlockKey key;
  std::copy_n(bytes.begin(), kTraceIdBytes, key.trace_id.begin());
  key.head = {GetInt32(bytes, kTraceIdBytes), GetInt32(bytes, kTraceIdBytes + 4)};
  key.block = GetInt32(bytes, kTraceIdBytes + 8);
  return key;
}

std::string EncodeIndexEntry(const IndexEntry& entry) {
  std::string bytes;
  bytes.reserve(kEntryBytes);
  AppendBigEndian(entry.first_token, 4, &bytes);
  AppendBigEndian(entry.tokens, 4, &bytes);
  AppendBigEndian(entry.head_dim, 4, &bytes);
  AppendBigEndian(entry.cuts, 4, &bytes);
  AppendBigEndian(entry.encoded_bytes, 4, &bytes);
  AppendBigEndian(entry.stored_at_s, 8, &bytes);
  AppendBigEndian(entry.epoch, kEpochBytes, &bytes);
  return bytes;
}

absl::StatusOr<IndexEntry> DecodeIndexEntry(absl::string_view bytes) {
  RETURN_IF_ERROR(CheckSize("index entry", bytes, kEntryBytes));
  IndexEntry entry;
  entry.first_token = GetInt32(bytes, 0);
  entry.tokens = GetInt32(bytes, 4);
  entry.head_dim = GetInt32(bytes, 8);
  entry.cuts = GetInt32(bytes, 12);
  entry.encoded_bytes = GetInt32(bytes, 16);
  entry.stored_at_s = static_cast<int64_t>(GetBigEndian(bytes.substr(20, 8)));
  entry.epoch = GetBigEndian(bytes.substr(28, kEpochBytes));
  return entry;
}

std::string EncodeTraceId(const TraceId& id) { return std::string(id.begin(), id.end()); }

}  // namespace kvp

// Keys and index entries of a shard's database (storage/key_encoding.h).

#include <cstdint>

#include "absl/strings/string_view.h"
#include "storage/key_encoding.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  if (const auto key = kvp::DecodeBlockKey(input); key.ok()) {
    FUZZ_CHECK(kvp::EncodeBlockKey(*key) == input);
  }
  if (const auto key = kvp::DecodeIndexKey(input); key.ok()) {
    FUZZ_CHECK(kvp::EncodeIndexKey(*key) == input);
    FUZZ_CHECK(!kvp::HeadBlockKeyText(*key).empty());
  }
  if (const auto entry = kvp::DecodeIndexEntry(input); entry.ok()) {
    FUZZ_CHECK(kvp::EncodeIndexEntry(*entry) == input);
  }
  if (const auto id = kvp::TraceIdFromBytes(input); id.ok()) {
    FUZZ_CHECK(kvp::EncodeTraceId(*id) == input);
  }
  return 0;
}

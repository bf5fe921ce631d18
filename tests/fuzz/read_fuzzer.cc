// What readers and writers take from a shard's answers (storage/head_response.h,
// storage/held_block_set.h).
//
// An input is flags (1 byte), then a message. Flag 1: HeldBlocks, else ReadHeadResponse; flag 2
// puts the checksums of its blocks right.

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/stubs/logging.h"
#include "proto/read.pb.h"
#include "proto/shard.pb.h"
#include "storage/head_response.h"
#include "storage/held_block_set.h"
#include "tests/fuzz/block_checksums.h"
#include "tests/fuzz/check.h"

namespace kvp {
namespace {

constexpr uint8_t kHeldBlocks = 1;
constexpr uint8_t kRightChecksums = 2;

void TakeHeldBlocks(const HeldBlocks& held) {
  const HeldBlockSet set(held);
  HeadBlockKey key;
  for (const HeldHead& head : held.heads()) {
    key.head = {head.layer(), head.kv_head()};
    key.block = head.tokens_size();
    FUZZ_CHECK(!set.Contains(key, 0, 0) || held.heads_size() > 1);
    for (key.block = -1; key.block <= head.tokens_size(); ++key.block) set.Contains(key, 0, 1);
  }
}

void TakeBlocks(const ReadHeadResponse& response) {
  int64_t blocks = 0;
  const absl::Status status = ForEachBlock(
      response, "shard",
      [&](const TraceId& id, int32_t number, const absl::StatusOr<absl::string_view>& encoded) {
        ++blocks;
        if (!encoded.ok()) return absl::OkStatus();
        HeadBlockKey key;
        key.trace_id = id;
        key.block = number;
        const absl::StatusOr<HeadBlock> block = DecodeReadBlock(key, *encoded);
        if (!block.ok()) return absl::OkStatus();
        FUZZ_CHECK(block->key.trace_id == id && block->key.block == number);
        FUZZ_CHECK(block->keys.size() == 2 * size_t(block->tokens) * block->head_dim);
        FUZZ_CHECK(block->values.size() == block->keys.size());
        return absl::OkStatus();
      });
  if (status.ok()) FUZZ_CHECK(blocks == response.blocks_size() + response.unreadable_size());
}

}  // namespace
}  // namespace kvp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto quiet = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(quiet);
  if (size == 0) return 0;
  const int length = static_cast<int>(size - 1);
  if (data[0] & kvp::kHeldBlocks) {
    kvp::HeldBlocks held;
    if (held.ParseFromArray(data + 1, length)) kvp::TakeHeldBlocks(held);
    return 0;
  }
  kvp::ReadHeadResponse response;
  if (!response.ParseFromArray(data + 1, length)) return 0;
  if (data[0] & kvp::kRightChecksums) {
    for (std::string& block : *response.mutable_blocks()) block = kvp::WithChecksums(block);
  }
  kvp::TakeBlocks(response);
  return 0;
}

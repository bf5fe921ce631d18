#include "storage/head_response.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/block_quantization.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::StatusOr<TraceId> IdOf(const BlockPosition& position, const std::string& shard_name) {
  absl::StatusOr<TraceId> id = TraceIdFromBytes(position.trace_id());
  if (id.ok()) return id;
  return absl::Status(id.status().code(), absl::StrCat(shard_name, ": ", id.status().message()));
}

}  // namespace

absl::Status ForEachBlock(const ReadHeadResponse& response, const std::string& shard_name,
                          const ShardSource::BlockConsumer& consume) {
  for (const BlockPosition& position : response.unreadable()) {
    ASSIGN_OR_RETURN(const TraceId id, IdOf(position, shard_name));
    RETURN_IF_ERROR(consume(id, position.block(), absl::DataLossError("the shard can't read it")));
  }
  if (response.positions_size() != response.blocks_size()) {
    return absl::InternalError(absl::StrCat(shard_name, ": ", response.positions_size(),
                                            " positions for ", response.blocks_size(), " blocks"));
  }
  for (int i = 0; i < response.blocks_size(); ++i) {
    const BlockPosition& position = response.positions(i);
    ASSIGN_OR_RETURN(const TraceId id, IdOf(position, shard_name));
    RETURN_IF_ERROR(consume(id, position.block(), absl::string_view(response.blocks(i))));
  }
  return absl::OkStatus();
}

absl::StatusOr<HeadBlock> DecodeReadBlock(const HeadBlockKey& key, absl::string_view encoded) {
  ASSIGN_OR_RETURN(HeadBlock block, DecodeHeadBlock(encoded));
  ASSIGN_OR_RETURN(block, DequantizeToBf16(std::move(block)));
  if (block.key != key) {
    return absl::DataLossError(absl::StrCat("it says it is ", HeadBlockKeyText(block.key)));
  }
  return block;
}

}  // namespace kvp

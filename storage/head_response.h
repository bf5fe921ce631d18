// What a reader takes from a shard's answers, whatever they say.

#ifndef KVP_STORAGE_HEAD_RESPONSE_H_
#define KVP_STORAGE_HEAD_RESPONSE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/read.pb.h"
#include "storage/head_block.h"
#include "storage/shard_source.h"

namespace kvp {

// Gives `consume` the blocks of a response: first those that the shard couldn't read, as DATA_LOSS,
// then the others. INTERNAL or INVALID_ARGUMENT, naming the shard, where the response makes no
// sense; else what `consume` returns.
absl::Status ForEachBlock(const ReadHeadResponse& response, const std::string& shard_name,
                          const ShardSource::BlockConsumer& consume);

// The block that `encoded` is, checked, with keys and values as bf16. DATA_LOSS where it is damaged
// or isn't the block `key`.
absl::StatusOr<HeadBlock> DecodeReadBlock(const HeadBlockKey& key, absl::string_view encoded);

}  // namespace kvp

#endif  // KVP_STORAGE_HEAD_RESPONSE_H_

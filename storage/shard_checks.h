// What a shard accepts: pure checks of models, blocks and records against its identity.

#ifndef KVP_STORAGE_SHARD_CHECKS_H_
#define KVP_STORAGE_SHARD_CHECKS_H_

#include "absl/status/status.h"
#include "proto/shard.pb.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"

namespace kvp {

// INVALID_ARGUMENT, naming the field, unless the geometry makes sense and a fingerprint is there.
absl::Status CheckModel(const ModelInfo& model);

// FAILED_PRECONDITION, naming the field and both values, unless fingerprint and geometry are the
// same. Names may differ.
absl::Status CheckSameModel(const ModelInfo& model, const ModelInfo& held);

// INVALID_ARGUMENT, naming the field, unless the block can belong to the shard.
absl::Status CheckBlockFits(const HeadBlockView& block, const ShardIdentity& identity);

// INVALID_ARGUMENT, naming the field, unless the record makes sense and is of the shard's model.
absl::Status CheckRecordFits(const TraceRecord& record, const ShardIdentity& identity);

}  // namespace kvp

#endif  // KVP_STORAGE_SHARD_CHECKS_H_

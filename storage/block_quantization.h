// Head blocks with K and V in float8: half the bytes, a relative error of up to 2^-4 an element.

#ifndef KVP_STORAGE_BLOCK_QUANTIZATION_H_
#define KVP_STORAGE_BLOCK_QUANTIZATION_H_

#include "absl/status/statusor.h"
#include "storage/head_block.h"

namespace kvp {

// The block with K and V as float8. Each channel, of the block's K and of its V, is divided by a
// scale that takes its largest finite magnitude to the largest float8; a channel of zeros has scale
// 1. INVALID_ARGUMENT unless the block is a valid one in bf16.
absl::StatusOr<HeadBlock> QuantizeToFloat8(HeadBlock block);

// The block with K and V as bf16, whatever they were: for every reader. INVALID_ARGUMENT where the
// sizes of its tensors don't agree.
absl::StatusOr<HeadBlock> DequantizeToBf16(HeadBlock block);

}  // namespace kvp

#endif  // KVP_STORAGE_BLOCK_QUANTIZATION_H_

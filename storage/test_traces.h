// Small traces for tests, each determined by a number.

#ifndef KVP_STORAGE_TEST_TRACES_H_
#define KVP_STORAGE_TEST_TRACES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "storage/trace_writer.h"

namespace kvp {

// 3 layers of 4 query and 2 KV heads of dimension 8.
ModelInfo TestModel();

// Its order among ids is that of `number`.
TraceId TestTraceId(uint32_t number);

// A record with 2 cuts; the first half of the tokens is the prompt. blocks isn't set.
TraceRecord TestRecord(uint32_t number, int32_t tokens, const std::string& split);

// The trace's blocks of all heads of TestModel, layer-major, each of block_tokens tokens but the
// last of each head. Every byte depends on number, head and block.
std::vector<HeadBlock> TestBlocks(uint32_t number, int32_t tokens, int32_t block_tokens);

// Writes and commits such a trace.
absl::Status WriteTestTrace(TraceWriter& writer, uint32_t number, int32_t tokens,
                            int32_t block_tokens, const std::string& split);

// Whether all fields and bytes are the same.
bool SameBlock(const HeadBlock& a, const HeadBlock& b);

}  // namespace kvp

#endif  // KVP_STORAGE_TEST_TRACES_H_

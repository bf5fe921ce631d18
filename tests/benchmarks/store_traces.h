// Traces of a real model's size, for measuring the store.

#ifndef KVP_TESTS_BENCHMARKS_STORE_TRACES_H_
#define KVP_TESTS_BENCHMARKS_STORE_TRACES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "proto/trace.pb.h"
#include "storage/trace_writer.h"

namespace kvp {

// Qwen2.5-7B's attention: 28 layers of 28 query and 4 KV heads of dimension 128.
ModelInfo StoreBenchModel();

constexpr int32_t kStoreBenchTokens = 2048;
constexpr int32_t kStoreBenchCuts = 16;
// As the collector cuts them: 272 KiB.
constexpr int32_t kStoreBenchBlockTokens = 512;

// Writes and commits trace `number`: kStoreBenchTokens recorded tokens, random bytes.
// `block_tokens` divides them.
absl::Status WriteStoreBenchTrace(TraceWriter& writer, uint32_t number,
                                  int32_t block_tokens = kStoreBenchBlockTokens);

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_STORE_TRACES_H_

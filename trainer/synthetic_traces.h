// Traces for tests, made up: importance is a steep function of K and V, so that there is something
// to learn.

#ifndef KVP_TRAINER_SYNTHETIC_TRACES_H_
#define KVP_TRAINER_SYNTHETIC_TRACES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "trainer/dataset.h"
#include "util/head_split.h"

namespace kvp {

struct SyntheticTraceSpec {
  int32_t layers = 2;
  int32_t kv_heads = 2;
  int32_t head_dim = 8;
  int32_t traces = 4;
  std::string split = "train";
  // Trace t has entries + t entries and cuts at half and at all of them.
  int32_t entries = 40;
  int32_t block_tokens = 16;
};

struct SyntheticTrace {
  TraceRecord record;
  // Of every head, in order.
  std::vector<HeadBlock> blocks;
};

// The same spec gives the same traces.
std::vector<SyntheticTrace> MakeSyntheticTraces(const SyntheticTraceSpec& spec);

// A dataset of them, with all traces kept. Dies where that fails.
Dataset MakeSyntheticDataset(const SyntheticTraceSpec& spec, HeadRange heads, int64_t group_size);

}  // namespace kvp

#endif  // KVP_TRAINER_SYNTHETIC_TRACES_H_

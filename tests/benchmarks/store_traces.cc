#include "tests/benchmarks/store_traces.h"

#include <algorithm>
#include <string>

#include "storage/head_block.h"
#include "tests/benchmarks/disk.h"
#include "util/status_macros.h"

namespace kvp {
ModelInfo StoreBenchModel() {
  ModelInfo model;
  model.set_name("store_benchmark");
  model.set_fingerprint(std::string(64, 'b'));
  model.set_layers(28);
  model.set_query_heads(28);
  model.set_kv_heads(4);
  model.set_head_dim(128);
  return model;
}

absl::Status WriteStoreBenchTrace(TraceWriter& writer, uint32_t number, int32_t block_tokens) {
  const ModelInfo model = StoreBenchModel();
  const std::string kv = RandomBytes(int64_t{2} * block_tokens * model.head_dim(), 1);
  const std::string labels = RandomBytes(int64_t{2} * block_tokens * kStoreBenchCuts, 2);
  TraceId id{};
  for (int i = 0; i < 4; ++i) id[i] = static_cast<uint8_t>(number >> (24 - 8 * i));
  HeadBlock block;
  block.key.trace_id = id;
  block.tokens = block_tokens;
  block.head_dim = model.head_dim();
  block.cuts = kStoreBenchCuts;
  block.keys = kv;
  block.values = kv;
  block.labels = labels;
  for (int32_t layer = 0; layer < model.layers(); ++layer) {
    for (int32_t head = 0; head < model.kv_heads(); ++head) {
      for (int32_t first = 0; first < kStoreBenchTokens; first += block_tokens) {
        block.key.head = {layer, head};
        block.key.block = first / block_tokens;
        block.first_token = first;
        RETURN_IF_ERROR(writer.Add(block));
      }
    }
  }
  TraceRecord record;
  record.set_trace_id(std::string(id.begin(), id.end()));
  *record.mutable_model() = model;
  record.set_task("bench");
  record.set_split("train");
  record.set_prompt_tokens(kStoreBenchTokens);
  record.set_continuation_tokens(1);
  record.set_entries(kStoreBenchTokens);
  for (int cut = 1; cut <= kStoreBenchCuts; ++cut) {
    record.add_cuts(kStoreBenchTokens / kStoreBenchCuts * cut);
  }
  for (int token = 0; token <= kStoreBenchTokens; ++token) record.add_token_ids(token % 1000);
  return writer.Commit(std::move(record));
}

}  // namespace kvp

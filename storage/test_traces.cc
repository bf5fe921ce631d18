#include "storage/test_traces.h"

#include <algorithm>
#include <random>

#include "util/status_macros.h"

namespace kvp {

ModelInfo TestModel() {
  ModelInfo model;
  model.set_name("test");
  model.set_fingerprint("0123456789abcdef");
  model.set_layers(3);
  model.set_query_heads(4);
  model.set_kv_heads(2);
  model.set_head_dim(8);
  return model;
}

TraceId TestTraceId(uint32_t number) {
  TraceId id{};
  for (int i = 0; i < 4; ++i) id[i] = static_cast<uint8_t>(number >> (8 * (3 - i)));
  id[15] = 0xff;
  return id;
}

TraceRecord TestRecord(uint32_t number, int32_t tokens, const std::string& split) {
  const TraceId id = TestTraceId(number);
  TraceRecord record;
  record.set_trace_id(std::string(id.begin(), id.end()));
  *record.mutable_model() = TestModel();
  record.set_task("retrieval");
  record.set_split(split);
  record.set_prompt_tokens(tokens / 2);
  record.set_continuation_tokens(tokens - tokens / 2);
  record.add_cuts(tokens / 2);
  record.add_cuts(tokens);
  record.set_entries(tokens);
  for (int32_t i = 0; i < tokens; ++i) record.add_token_ids(static_cast<int32_t>(number) + i);
  return record;
}

std::vector<HeadBlock> TestBlocks(uint32_t number, int32_t tokens, int32_t block_tokens) {
  const ModelInfo model = TestModel();
  std::vector<HeadBlock> blocks;
  for (int64_t index = 0; index < int64_t{model.layers()} * model.kv_heads(); ++index) {
    for (int32_t first = 0; first < tokens; first += block_tokens) {
      HeadBlock block;
      block.key.head = HeadId::FromIndex(index, model.kv_heads());
      block.key.trace_id = TestTraceId(number);
      block.key.block = first / block_tokens;
      block.first_token = first;
      block.tokens = std::min(block_tokens, tokens - first);
      block.head_dim = model.head_dim();
      block.cuts = 2;
      std::mt19937 random(number * 1'000'003u + static_cast<uint32_t>(index) * 1009u + first);
      const auto fill = [&random](size_t bytes) {
        std::string text(bytes, '\0');
        for (char& byte : text) byte = static_cast<char>(random());
        return text;
      };
      block.keys = fill(size_t{2} * block.tokens * block.head_dim);
      block.values = fill(size_t{2} * block.tokens * block.head_dim);
      block.labels = fill(size_t{2} * block.tokens * block.cuts);
      blocks.push_back(std::move(block));
    }
  }
  return blocks;
}

absl::Status WriteTestTrace(TraceWriter& writer, uint32_t number, int32_t tokens,
                            int32_t block_tokens, const std::string& split) {
  for (const HeadBlock& block : TestBlocks(number, tokens, block_tokens)) {
    RETURN_IF_ERROR(writer.Add(block));
  }
  return writer.Commit(TestRecord(number, tokens, split));
}

bool SameBlock(const HeadBlock& a, const HeadBlock& b) {
  return a.key.head == b.key.head && a.key.trace_id == b.key.trace_id &&
         a.key.block == b.key.block && a.first_token == b.first_token && a.tokens == b.tokens &&
         a.head_dim == b.head_dim && a.cuts == b.cuts && a.kv_dtype == b.kv_dtype &&
         a.query_heads == b.query_heads && a.key_scales == b.key_scales &&
         a.value_scales == b.value_scales && a.keys == b.keys && a.values == b.values &&
         a.labels == b.labels && a.queries == b.queries;
}

}  // namespace kvp

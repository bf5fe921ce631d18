#include "trainer/synthetic_traces.h"

#include <algorithm>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "policy/seeded_random.h"
#include "util/sha256.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {

std::vector<SyntheticTrace> MakeSyntheticTraces(const SyntheticTraceSpec& spec) {
  std::vector<SyntheticTrace> traces;
  for (int32_t t = 0; t < spec.traces; ++t) {
    SyntheticTrace& trace = traces.emplace_back();
    TraceRecord& record = trace.record;
    Sha256 hash;
    hash.Update(absl::StrCat(spec.split, " ", t));
    const std::array<uint8_t, 32> digest = hash.Finish();
    TraceId id;
    std::copy_n(digest.begin(), id.size(), id.begin());
    record.set_trace_id(std::string(id.begin(), id.end()));
    record.mutable_model()->set_name("synthetic");
    record.mutable_model()->set_fingerprint("0123");
    record.mutable_model()->set_layers(spec.layers);
    record.mutable_model()->set_query_heads(spec.kv_heads);
    record.mutable_model()->set_kv_heads(spec.kv_heads);
    record.mutable_model()->set_head_dim(spec.head_dim);
    record.set_task("synthetic");
    record.set_split(spec.split);
    const int32_t entries = spec.entries + t;
    record.set_prompt_tokens(entries);
    record.set_entries(entries);
    for (int32_t token = 0; token < entries; ++token) record.add_token_ids(token);
    record.add_cuts(entries / 2);
    record.add_cuts(entries);
    for (int64_t head = 0; head < int64_t{spec.layers} * spec.kv_heads; ++head) {
      const uint64_t seed = MixSeed({uint64_t(head), uint64_t(t), uint64_t(spec.split.size())});
      const at::Tensor keys =
          (SeededUniform({entries, spec.head_dim}, MixSeed({seed, 1})) * 2 - 1).to(at::kBFloat16);
      const at::Tensor values =
          (SeededUniform({entries, spec.head_dim}, MixSeed({seed, 2})) * 2 - 1).to(at::kBFloat16);
      const at::Tensor direction =
          SeededUniform({spec.head_dim}, MixSeed({uint64_t(head)})) * 2 - 1;
      const at::Tensor worth =
          (3 * (keys.to(at::kFloat).matmul(direction) + values.to(at::kFloat).select(1, 0))).exp();
      at::Tensor labels = at::stack({worth, worth});
      labels[0].slice(0, entries / 2).zero_();
      labels = labels.clamp_max(60000).to(at::kHalf);
      for (int32_t first = 0; first < entries; first += spec.block_tokens) {
        HeadBlock& block = trace.blocks.emplace_back();
        block.key.head = HeadId::FromIndex(head, spec.kv_heads);
        block.key.trace_id = id;
        block.key.block = first / spec.block_tokens;
        block.first_token = first;
        block.tokens = std::min(spec.block_tokens, entries - first);
        block.head_dim = spec.head_dim;
        block.cuts = 2;
        block.keys = BytesOfTensor(keys.narrow(0, first, block.tokens).contiguous());
        block.values = BytesOfTensor(values.narrow(0, first, block.tokens).contiguous());
        block.labels = BytesOfTensor(labels.narrow(1, first, block.tokens).contiguous());
      }
    }
  }
  std::sort(traces.begin(), traces.end(), [](const SyntheticTrace& a, const SyntheticTrace& b) {
    return a.record.trace_id() < b.record.trace_id();
  });
  return traces;
}

MemoryTraceReader::MemoryTraceReader(std::vector<SyntheticTrace> traces)
    : traces_(std::move(traces)) {}

absl::StatusOr<std::vector<TraceRecord>> MemoryTraceReader::ListTraces(const std::string& split) {
  std::vector<TraceRecord> records;
  for (const SyntheticTrace& trace : traces_) {
    if (split.empty() || trace.record.split() == split) records.push_back(trace.record);
  }
  std::sort(records.begin(), records.end(),
            [](const TraceRecord& a, const TraceRecord& b) { return a.trace_id() < b.trace_id(); });
  return records;
}

absl::StatusOr<TraceReader::ReadResult> MemoryTraceReader::ReadHead(
    const HeadRead& read, const std::function<absl::Status(HeadBlock block)>& consume) {
  absl::SleepFor(absl::Milliseconds(delay_ms_.load()));
  if (failing_) return absl::UnavailableError("the store is away");
  ReadResult result;
  for (const TraceId& id : read.traces) {
    for (const SyntheticTrace& trace : traces_) {
      if (trace.record.trace_id() != std::string(id.begin(), id.end())) continue;
      ++reads_;
      for (const HeadBlock& block : trace.blocks) {
        if (block.key.head != read.head) continue;
        ++result.blocks;
        RETURN_IF_ERROR(consume(block));
      }
    }
  }
  return result;
}

std::unique_ptr<MemoryTraceReader> SyntheticStore(const SyntheticTraceSpec& spec) {
  std::vector<SyntheticTrace> traces;
  for (const char* split : {"train", "held_out"}) {
    SyntheticTraceSpec of_split = spec;
    of_split.split = split;
    for (SyntheticTrace& trace : MakeSyntheticTraces(of_split)) traces.push_back(std::move(trace));
  }
  return std::make_unique<MemoryTraceReader>(std::move(traces));
}

}  // namespace kvp

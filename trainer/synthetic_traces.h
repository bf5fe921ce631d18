// Traces for tests, made up: importance is a steep function of K and V, so that there is something
// to learn.

#ifndef KVP_TRAINER_SYNTHETIC_TRACES_H_
#define KVP_TRAINER_SYNTHETIC_TRACES_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "storage/trace_reader.h"

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

// A store in memory. Thread-safe.
class MemoryTraceReader : public TraceReader {
 public:
  // In any order, of any splits; a trace's blocks of a head in theirs.
  explicit MemoryTraceReader(std::vector<SyntheticTrace> traces);

  absl::StatusOr<std::vector<TraceRecord>> ListTraces(const std::string& split) override;
  using TraceReader::ReadHead;
  absl::StatusOr<ReadResult> ReadHead(
      const HeadRead& read, const std::function<absl::Status(HeadBlock block)>& consume) override;

  // (trace, head) pairs read so far.
  int64_t reads() const { return reads_; }
  // Each read takes so long from now on.
  void set_delay(absl::Duration delay) { delay_ms_ = absl::ToInt64Milliseconds(delay); }
  // Each read fails from now on.
  void set_failing(bool failing) { failing_ = failing; }

 private:
  const std::vector<SyntheticTrace> traces_;
  std::atomic<int64_t> reads_{0};
  std::atomic<int64_t> delay_ms_{0};
  std::atomic<bool> failing_{false};
};

// Training and held-out traces of `spec`, whose split doesn't count.
std::unique_ptr<MemoryTraceReader> SyntheticStore(const SyntheticTraceSpec& spec);

}  // namespace kvp

#endif  // KVP_TRAINER_SYNTHETIC_TRACES_H_

// TraceReader: how a trainer rank and the evaluation read committed traces, from one or several
// shards.

#ifndef KVP_STORAGE_TRACE_READER_H_
#define KVP_STORAGE_TRACE_READER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "util/head_split.h"

namespace kvp {

// Thread-safe; calls block.
class TraceReader {
 public:
  struct Options {
    // HOST:PORT of each shard, in the order of their head ranges.
    std::vector<std::string> shards;
    absl::Duration connect_deadline = absl::Seconds(30);
  };

  // What one read of a head gave.
  struct ReadResult {
    int64_t blocks = 0;
    int64_t bytes = 0;  // encoded
    // Blocks whose checksum was wrong: skipped, counted and logged with their key.
    int64_t corrupt_blocks = 0;
  };

  // UNAVAILABLE, naming the address, where a shard can't be reached in time.
  static absl::StatusOr<std::unique_ptr<TraceReader>> Connect(Options options);

  virtual ~TraceReader() = default;

  // The committed traces of `split` ("" for all), in ascending order of their id: only those that
  // every shard has committed. The order is the same whatever the shards.
  virtual absl::StatusOr<std::vector<TraceRecord>> ListTraces(const std::string& split) = 0;

  // Calls `consume` with every block of `head` of the committed traces of `split` ("" for all), in
  // ascending order of trace id, then block. K and V are bf16, however they are stored. An error of
  // `consume` ends the read and is returned.
  virtual absl::StatusOr<ReadResult> ReadHead(
      HeadId head, const std::string& split,
      const std::function<absl::Status(HeadBlock block)>& consume) = 0;
};

}  // namespace kvp

#endif  // KVP_STORAGE_TRACE_READER_H_

// TraceReader: how a trainer rank and the evaluation read committed traces, from one or several
// shards.

#ifndef KVP_STORAGE_TRACE_READER_H_
#define KVP_STORAGE_TRACE_READER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "util/head_split.h"
#include "util/tls_files.h"

namespace kvp {

// Thread-safe; calls block.
class TraceReader {
 public:
  struct Options {
    // Of each shard, in the order of their head ranges: HOST:PORT of its server, or, with a slash
    // in it, its folder, which is then read without gRPC, as it is now.
    std::vector<std::string> shards;
    TlsFiles tls;
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
  static absl::StatusOr<std::unique_ptr<TraceReader>> Connect(const Options& options);

  virtual ~TraceReader() = default;

  // The committed traces of `split` ("" for all), in ascending order of their id: only those that
  // every shard has committed. The order is the same whatever the shards.
  virtual absl::StatusOr<std::vector<TraceRecord>> ListTraces(const std::string& split) = 0;

  struct HeadRead {
    HeadId head;
    // "" for all.
    std::string split;
    // Seed of the order of traces, the same for every head and shard; 0: by ascending id.
    uint64_t order_seed = 0;
    // Where set, the read goes on behind this trace in that order.
    std::optional<TraceId> after;
    // Where there are any: these traces of ListTraces alone, in this order, whatever the above.
    std::vector<TraceId> traces;
  };
  // Calls `consume` with every block of a head of the traces committed when the read began, trace
  // by trace in order, a trace's blocks in theirs. Several blocks are read ahead meanwhile. K
  // and V are bf16, however they are stored. An error of `consume` ends the read and is returned.
  virtual absl::StatusOr<ReadResult> ReadHead(
      const HeadRead& read, const std::function<absl::Status(HeadBlock block)>& consume) = 0;
  // The whole of a head by ascending trace id.
  absl::StatusOr<ReadResult> ReadHead(HeadId head, const std::string& split,
                                      const std::function<absl::Status(HeadBlock block)>& consume) {
    return ReadHead(HeadRead{head, split, 0, std::nullopt, {}}, consume);
  }
};

}  // namespace kvp

#endif  // KVP_STORAGE_TRACE_READER_H_

// TraceWriter: how a collector gets its traces into the shards.

#ifndef KVP_STORAGE_TRACE_WRITER_H_
#define KVP_STORAGE_TRACE_WRITER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "util/tls_files.h"

namespace kvp {

// Streams each trace to every shard, each shard getting its own heads. Blocks are sent while they
// are added, within a window of unacknowledged bytes; a trace is committed on each shard only when
// all its blocks are durable there. Adding what a shard has is a no-op, so a writer that starts
// anew adds everything again; a shard says what it holds of a trace, also after a reconnection, and
// only the rest is sent.
//
// Not thread-safe: one writer a thread. Methods block on the window and on reconnection.
class TraceWriter {
 public:
  struct Options {
    // HOST:PORT of each shard, in the order of their head ranges (util/head_split.h).
    std::vector<std::string> shards;
    TlsFiles tls;
    ModelInfo model;
    int64_t window_bytes = int64_t{64} << 20;
    // How long a shard may be unreachable, at the start or later, before a call fails.
    absl::Duration reconnect_deadline = absl::Seconds(30);
    // Where set: asked a few times a second, on several threads, while a shard can't be reached;
    // once it is true the deadline has come. What a shard answers is waited for all the same.
    std::function<bool()> cancelled;

    absl::Status Validate() const;
  };

  // Connects to all shards and says hello. UNAVAILABLE, naming the address, where one can't be
  // reached in time; FAILED_PRECONDITION where a shard holds another head range or another model's
  // geometry.
  static absl::StatusOr<std::unique_ptr<TraceWriter>> Connect(Options options);

  virtual ~TraceWriter() = default;

  // Of `ids`, those committed on every shard.
  virtual absl::StatusOr<std::vector<TraceId>> Committed(absl::Span<const TraceId> ids) = 0;

  // Adds one block of the trace that is being written; Commit ends that trace. Errors as Commit.
  virtual absl::Status Add(const HeadBlock& block) = 0;

  // Waits until every block of the trace is acknowledged as durable, then commits the record on
  // every shard and waits for that too. `record.blocks` is set by the writer. UNAVAILABLE past the
  // reconnect deadline; INVALID_ARGUMENT where a shard refused a block. After an error the trace
  // isn't visible, and may be sent again from its begin.
  virtual absl::Status Commit(TraceRecord record) = 0;

  // Encoded bytes of the blocks added that are durable, summed over the shards.
  virtual int64_t acknowledged_bytes() const = 0;
  // Of those, what a shard held already, so that it wasn't sent.
  virtual int64_t held_bytes() const { return 0; }
};

}  // namespace kvp

#endif  // KVP_STORAGE_TRACE_WRITER_H_

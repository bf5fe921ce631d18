// ShardSource: what a reader reads from: a shard's server, or its folder.

#ifndef KVP_STORAGE_SHARD_SOURCE_H_
#define KVP_STORAGE_SHARD_SOURCE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "proto/shard.pb.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "util/head_split.h"
#include "util/tls_files.h"

namespace kvp {

// Thread-safe; calls block.
class ShardSource {
 public:
  virtual ~ShardSource() = default;

  // "shard 127.0.0.1:7000", "shard /data/shard0", for messages.
  virtual const std::string& name() const = 0;

  // Whether what is committed after the source was made is seen.
  virtual bool grows() const = 0;

  // Without a shard_count until a first hello has reached the shard.
  virtual absl::StatusOr<ShardIdentity> Identity() = 0;

  // The committed traces of `split` ("" for all), by ascending id; with `ids_only`, trace_id and
  // blocks alone are set.
  virtual absl::StatusOr<std::vector<TraceRecord>> List(const std::string& split,
                                                        bool ids_only) = 0;

  struct HeadRequest {
    HeadId head;
    std::string split;
    uint64_t order_seed = 0;
    // Where there are any: these traces alone, in this order.
    std::vector<TraceId> traces;
    // Where set, the read goes on behind this trace.
    const TraceId* after_trace = nullptr;
  };
  // `encoded` is DATA_LOSS for a block that the shard can't read. Its checksum has not been
  // checked.
  using BlockConsumer = std::function<absl::Status(
      const TraceId& id, int32_t block, const absl::StatusOr<absl::string_view>& encoded)>;
  // An error of `consume` ends the read and is returned.
  virtual absl::Status ReadHead(const HeadRequest& request, const BlockConsumer& consume) = 0;
};

// The server at HOST:PORT `address`, which may be away for up to `deadline` at a time. Errors of
// MakeChannel.
absl::StatusOr<std::unique_ptr<ShardSource>> RemoteShard(const std::string& address,
                                                         const TlsFiles& tls,
                                                         absl::Duration deadline);

// The shard in a folder, opened read-only, without gRPC: a server may have it open. What is
// committed later isn't seen. Errors of Shard::Open.
absl::StatusOr<std::unique_ptr<ShardSource>> LocalShard(const std::string& dir);

}  // namespace kvp

#endif  // KVP_STORAGE_SHARD_SOURCE_H_

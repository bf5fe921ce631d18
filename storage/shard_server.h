// ShardServer: a shard behind its gRPC services, with health checking and reflection.

#ifndef KVP_STORAGE_SHARD_SERVER_H_
#define KVP_STORAGE_SHARD_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/admin_service.h"
#include "storage/ingest_queue.h"
#include "storage/ingestion_service.h"
#include "storage/reading_service.h"
#include "storage/shard.h"
#include "util/tls_files.h"

namespace kvp {

// Owns the shard, the ingest queue and the gRPC server with its threads. Thread-safe.
class ShardServer {
 public:
  struct Options {
    // HOST:PORT; port 0 is a free one. Without TLS files, HOST must be a loopback address.
    std::string listen = "127.0.0.1:0";
    TlsFiles tls;
    Shard::Options shard;
    IngestQueue::Options queue;
    // Writers' streams at once. Each may hold one message that the queue has no room for: 8 MiB at
    // most, a block of 272 KiB as collectors send them.
    int max_streams = 1024;

    absl::Status Validate() const;
  };

  // UNAVAILABLE, naming the address, where it can't be listened on; errors of Shard::Open. Ready on
  // return.
  static absl::StatusOr<std::unique_ptr<ShardServer>> Start(Options options);

  // As Shutdown with no time to drain.
  ~ShardServer();

  int port() const { return port_; }
  // HOST:PORT with the port that was bound.
  std::string address() const;
  Shard& shard() { return *shard_; }

  // Streams acknowledge what they have read and end with UNAVAILABLE; after `deadline` what is left
  // is cut off. Blocks until the server has stopped; calling it again does nothing.
  void Shutdown(absl::Duration deadline);

 private:
  explicit ShardServer(Options options) : options_(std::move(options)) {}

  const Options options_;
  int port_ = 0;
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<IngestQueue> queue_;
  std::unique_ptr<IngestionService> ingestion_;
  std::unique_ptr<ReadingService> reading_;
  std::unique_ptr<AdminService> admin_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_SHARD_SERVER_H_

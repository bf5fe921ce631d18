// The reading service of a shard.

#ifndef KVP_STORAGE_READING_SERVICE_H_
#define KVP_STORAGE_READING_SERVICE_H_

#include <atomic>

#include "grpcpp/grpcpp.h"
#include "proto/read.grpc.pb.h"
#include "storage/shard.h"

namespace kvp {

// Thread-safe. Each call has a thread of gRPC's pool to itself and reads the disk on it, so that a
// slow reader holds up nobody else.
class ReadingService final : public TraceReading::Service {
 public:
  // `shard` must outlive the service.
  explicit ReadingService(const Shard* shard) : shard_(shard) {}

  grpc::Status GetShard(grpc::ServerContext* context, const GetShardRequest* request,
                        GetShardResponse* response) override;
  grpc::Status ListTraces(grpc::ServerContext* context, const ListTracesRequest* request,
                          grpc::ServerWriter<ListTracesResponse>* writer) override;
  grpc::Status ReadHead(grpc::ServerContext* context, const ReadHeadRequest* request,
                        grpc::ServerWriter<ReadHeadResponse>* writer) override;

  // Streams under way and to come end with UNAVAILABLE.
  void Drain() { draining_ = true; }

 private:
  absl::Status CheckGoesOn(grpc::ServerContext* context) const;

  const Shard* const shard_;
  std::atomic<bool> draining_{false};
};

}  // namespace kvp

#endif  // KVP_STORAGE_READING_SERVICE_H_

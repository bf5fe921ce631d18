// The administration service of a shard.

#ifndef KVP_STORAGE_ADMIN_SERVICE_H_
#define KVP_STORAGE_ADMIN_SERVICE_H_

#include "grpcpp/grpcpp.h"
#include "proto/admin.grpc.pb.h"
#include "storage/shard.h"

namespace kvp {

// Thread-safe. Each call has a thread of gRPC's pool to itself.
class AdminService final : public ShardAdmin::Service {
 public:
  // `shard` must outlive the service.
  explicit AdminService(Shard* shard) : shard_(shard) {}

  grpc::Status Checkpoint(grpc::ServerContext* context, const CheckpointRequest* request,
                          CheckpointResponse* response) override;

 private:
  Shard* const shard_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_ADMIN_SERVICE_H_

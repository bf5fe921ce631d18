#include "storage/admin_service.h"

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "storage/grpc_status.h"
#include "util/logging.h"

namespace kvp {

grpc::Status AdminService::Checkpoint(grpc::ServerContext* /*context*/,
                                      const CheckpointRequest* request,
                                      CheckpointResponse* response) {
  absl::StatusOr<std::string> path = shard_->Checkpoint(request->name());
  if (!path.ok()) return ToGrpc(path.status());
  LogInfo(absl::StrCat("checkpoint ", *path));
  response->set_path(*std::move(path));
  response->set_committed_traces(shard_->committed_traces());
  return grpc::Status::OK;
}

}  // namespace kvp

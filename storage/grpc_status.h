// The one mapping between gRPC's statuses and absl's. Their codes are the same numbers.

#ifndef KVP_STORAGE_GRPC_STATUS_H_
#define KVP_STORAGE_GRPC_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/status.h"

namespace kvp {

inline grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// `what`, as in "shard 127.0.0.1:7000", begins the message.
inline absl::Status FromGrpc(const grpc::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat(what, ": ", status.error_message()));
}

}  // namespace kvp

#endif  // KVP_STORAGE_GRPC_STATUS_H_

// Mutual TLS between the processes of a job: both sides show a certificate that the job's authority
// has signed. Without files, connections are plain, which is allowed on loopback addresses alone.

#ifndef KVP_UTIL_TLS_H_
#define KVP_UTIL_TLS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "util/tls_files.h"

namespace kvp {

// OK where the host is localhost, 127.x.x.x or [::1], or files are given; INVALID_ARGUMENT, naming
// the host, else, and where only some of the files are given.
absl::Status CheckTls(const std::string& host, const TlsFiles& files);

// Clients must show a certificate that verifies. NOT_FOUND or INVALID_ARGUMENT, naming it, for a
// file that can't be read or is no PEM file of the right kind.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentialsOf(const TlsFiles& files);

// The server's certificate must be for the host that is connected to. Errors as above.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentialsOf(
    const TlsFiles& files);

}  // namespace kvp

#endif  // KVP_UTIL_TLS_H_

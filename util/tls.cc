#include "util/tls.h"

#include <arpa/inet.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

bool IsLoopback(const std::string& host) {
  in_addr address;
  return host == "localhost" || host == "[::1]" ||
         (absl::StartsWith(host, "127.") && inet_pton(AF_INET, host.c_str(), &address) == 1);
}

struct Pem {
  std::string certificate;
  std::string key;
  std::string authority;
};

absl::StatusOr<std::string> ReadPem(const std::string& path, absl::string_view kind) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  // gRPC says nothing of a file that it can't use, but that no connection comes about.
  if (!absl::StrContains(text, "-----BEGIN ") || !absl::StrContains(text, kind)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no PEM file with a ", kind));
  }
  return text;
}

absl::StatusOr<Pem> ReadAll(const TlsFiles& files) {
  Pem pem;
  ASSIGN_OR_RETURN(pem.certificate, ReadPem(files.certificate, "CERTIFICATE"));
  ASSIGN_OR_RETURN(pem.key, ReadPem(files.key, "PRIVATE KEY"));
  ASSIGN_OR_RETURN(pem.authority, ReadPem(files.authority, "CERTIFICATE"));
  return pem;
}

}  // namespace

absl::Status CheckTls(const std::string& host, const TlsFiles& files) {
  if (files.empty()) {
    if (IsLoopback(host)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(host, " is no loopback address: connections to it need TLS files"));
  }
  if (files.certificate.empty() || files.key.empty() || files.authority.empty()) {
    return absl::InvalidArgumentError(
        "of the TLS files certificate, key and authority some are missing: all or none are needed");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentialsOf(
    const TlsFiles& files) {
  if (files.empty()) return grpc::InsecureServerCredentials();
  ASSIGN_OR_RETURN(const Pem pem, ReadAll(files));
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = pem.authority;
  options.pem_key_cert_pairs.push_back({pem.key, pem.certificate});
  return grpc::SslServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentialsOf(
    const TlsFiles& files) {
  if (files.empty()) return grpc::InsecureChannelCredentials();
  ASSIGN_OR_RETURN(const Pem pem, ReadAll(files));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = pem.authority;
  options.pem_private_key = pem.key;
  options.pem_cert_chain = pem.certificate;
  return grpc::SslCredentials(options);
}

}  // namespace kvp

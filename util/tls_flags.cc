#include "util/tls_flags.h"

#include <string>

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, tls_cert, "",
          "PEM file with this process's certificate. With --tls-key and --tls-ca, connections are "
          "encrypted and both sides show certificates; without, only loopback addresses are "
          "allowed.");
ABSL_FLAG(std::string, tls_key, "", "PEM file with the certificate's private key.");
ABSL_FLAG(std::string, tls_ca, "",
          "PEM file with the certificates of the authority that signs the other side's.");

namespace kvp {

TlsFiles TlsFilesFromFlags() {
  return {absl::GetFlag(FLAGS_tls_cert), absl::GetFlag(FLAGS_tls_key), absl::GetFlag(FLAGS_tls_ca)};
}

}  // namespace kvp

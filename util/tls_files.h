// TlsFiles: which files TLS takes its keys from. Free of gRPC.

#ifndef KVP_UTIL_TLS_FILES_H_
#define KVP_UTIL_TLS_FILES_H_

#include <string>

namespace kvp {

// Paths of PEM files.
struct TlsFiles {
  std::string certificate;  // this process's, and what leads from it to the authority
  std::string key;          // its private key
  std::string authority;    // certificates that the other side's must be signed by

  bool empty() const { return certificate.empty() && key.empty() && authority.empty(); }
};

}  // namespace kvp

#endif  // KVP_UTIL_TLS_FILES_H_

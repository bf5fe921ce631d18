// The flags --tls-cert, --tls-key and --tls-ca of every tool that speaks gRPC.

#ifndef KVP_UTIL_TLS_FLAGS_H_
#define KVP_UTIL_TLS_FLAGS_H_

#include "util/tls_files.h"

namespace kvp {

TlsFiles TlsFilesFromFlags();

}  // namespace kvp

#endif  // KVP_UTIL_TLS_FLAGS_H_

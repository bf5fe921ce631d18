// Namespaces of the kernel: mounts and network interfaces of a test's own.

#ifndef KVP_TESTS_FAULT_NAMESPACES_H_
#define KVP_TESTS_FAULT_NAMESPACES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace kvp {

// Moves this process, and with it those that it starts, into mount and network namespaces of its
// own, where it may mount and make interfaces; the loopback interface is up. To be called before
// the first thread. PERMISSION_DENIED, in words to skip a test with, where the system doesn't allow
// it or the ip program is missing.
absl::Status EnterNamespaces();

// Runs argv; an error, with what it printed, unless it exits with 0.
absl::Status RunProgram(const std::vector<std::string>& argv);

}  // namespace kvp

#endif  // KVP_TESTS_FAULT_NAMESPACES_H_

// What a command of the system prints.

#ifndef KVP_LAUNCHER_COMMAND_OUTPUT_H_
#define KVP_LAUNCHER_COMMAND_OUTPUT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvp {

// Runs argv, every argument quoted, and returns what it writes to standard output; its standard
// error is this process's. UNAVAILABLE, naming the command, unless it exits with 0.
absl::StatusOr<std::string> CommandOutput(const std::vector<std::string>& argv);

}  // namespace kvp

#endif  // KVP_LAUNCHER_COMMAND_OUTPUT_H_

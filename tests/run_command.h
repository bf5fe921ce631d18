// Runs a program to its end and keeps what it printed.

#ifndef KVP_TESTS_RUN_COMMAND_H_
#define KVP_TESTS_RUN_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvp {

struct CommandResult {
  int exit_status = 0;  // 128 + signal where a signal ended it, as shells have it
  std::string output;   // stdout
  std::string errors;   // stderr
};

// Runs argv[0] with the arguments argv[1…], without a shell, with no standard input. UNAVAILABLE
// where it can't be started.
absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& argv);

// The built file of this workspace at `path` ("launcher/kvp") as a test sees it.
std::string RunfilePath(const std::string& path);

}  // namespace kvp

#endif  // KVP_TESTS_RUN_COMMAND_H_

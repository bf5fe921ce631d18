// The command line of every tool: absl flags, spelled --like-this or --like_this, with the exit
// statuses that all tools share: 0 done, 1 failed, 2 wrong usage.
//
//   ABSL_FLAG(std::string, model, "", "Model directory in Hugging Face layout.");
//
//   int main(int argc, char** argv) {
//     kvp::ParseCommandLine(argc, argv, "collect: runs a model ...\n\nExamples:\n  ...");
//     return kvp::ExitStatus(Run());
//   }

#ifndef KVP_UTIL_COMMAND_LINE_H_
#define KVP_UTIL_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

// Sets the flags from argv and returns the positional arguments (argv[0] left out). Prints `usage`
// and every flag on
// --help and exits with 0; on an unknown flag, a bad value or a missing one, prints one line that
// names it to stderr and exits with 2. "--" ends the flags.
std::vector<std::string> ParseCommandLine(int argc, char** argv, absl::string_view usage);

// As above for tests: what ParseCommandLine would exit with 2 for comes back as INVALID_ARGUMENT.
absl::StatusOr<std::vector<std::string>> SetFlags(const std::vector<std::string>& arguments);

// "name=value" of every flag that the tool defines, in alphabetical order: the effective
// configuration.
std::string EffectiveFlags();

// Prints a failed status to stderr in one line, after the tool's name; returns the process's exit
// status.
int ExitStatus(const absl::Status& status);

// Prints the message as ExitStatus does and returns kExitUsage.
int UsageError(absl::string_view message);

}  // namespace kvp

#endif  // KVP_UTIL_COMMAND_LINE_H_

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

// Whether a flag of the tool, spelled either way, has another value than its default.
bool IsFlagSet(absl::string_view name);

// The first of the flags `names` that is set, in words: "flag --tasks doesn't apply WHERE", WHERE
// as in "to --prompts"; or "".
std::string MisplacedFlag(const std::vector<std::string>& names, absl::string_view where);

// The message of an Options' Validate that begins with a field's name, the field spelled as the
// flag of that name: "top_p is 2: …" gives "flag --top-p is 2: …". Others come back as they are.
std::string FlagMessage(absl::string_view message);

// OK where files could be written at the non-empty ones of `paths`: to be asked before long work
// whose results go there. NOT_FOUND, naming the path, where its folder isn't there or can't be
// written to; INVALID_ARGUMENT where it is a folder itself.
absl::Status CheckOutputPaths(const std::vector<std::string>& paths);

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

#include "tests/run_command.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Output goes through files: a pipe would have to be drained while the program runs.
std::string CaptureFile(absl::string_view stream) {
  static std::atomic<int> next{0};
  const char* folder = std::getenv("TEST_TMPDIR");
  return absl::StrCat(folder == nullptr ? "/tmp" : folder, "/command-", getpid(), "-", next++, ".",
                      stream);
}

absl::StatusOr<std::string> TakeFile(const std::string& path) {
  absl::StatusOr<std::string> contents = ReadFile(path);
  unlink(path.c_str());
  return contents;
}

}  // namespace

absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& argv) {
  const std::string output_path = CaptureFile("stdout");
  const std::string errors_path = CaptureFile("stderr");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output_path.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors_path.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t child;
  const int error = posix_spawn(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::UnavailableError(absl::StrCat(argv[0], ": can't start: ", std::strerror(error)));
  }
  int status;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      return absl::UnavailableError(absl::StrCat(argv[0], ": waitpid: ", std::strerror(errno)));
    }
  }
  CommandResult result;
  result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ASSIGN_OR_RETURN(result.output, TakeFile(output_path));
  ASSIGN_OR_RETURN(result.errors, TakeFile(errors_path));
  return result;
}

std::string RunfilePath(const std::string& path) {
  // Tests start in their runfiles' workspace folder.
  return std::filesystem::absolute(path).string();
}

}  // namespace kvp

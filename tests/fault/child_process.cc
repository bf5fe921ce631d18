#include "tests/fault/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "util/file.h"

namespace kvp {
namespace {

int ExitStatusOf(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::Start(std::vector<std::string> argv,
                                                 const std::string& log) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  std::vector<char*> arguments;
  for (std::string& argument : argv) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::UnavailableError(absl::StrCat(argv[0], ": can't start: ", std::strerror(error)));
  }
  return ChildProcess(pid);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), status_(other.status_) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(status_, other.status_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) Signal(SIGKILL);
}

std::optional<int> ChildProcess::Ended() {
  int status = 0;
  if (!status_.has_value() && waitpid(pid_, &status, WNOHANG) == pid_) {
    status_ = ExitStatusOf(status);
  }
  return status_;
}

int ChildProcess::Signal(int signal) {
  if (!Ended().has_value()) kill(pid_, signal);
  return Wait();
}

int ChildProcess::Wait() {
  int status = 0;
  while (!status_.has_value()) {
    if (waitpid(pid_, &status, 0) == pid_) status_ = ExitStatusOf(status);
    if (!status_.has_value() && errno != EINTR) break;
  }
  return status_.value_or(-1);
}

int64_t ChildProcess::StatusKib(const std::string& field) const {
  const absl::StatusOr<std::string> text = ReadFile(absl::StrCat("/proc/", pid_, "/status"));
  if (!text.ok()) return 0;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::StartsWith(line, absl::StrCat(field, ":"))) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(": \t"), absl::SkipEmpty());
    int64_t kib = 0;
    return words.size() > 1 && absl::SimpleAtoi(words[1], &kib) ? kib : 0;
  }
  return 0;
}

int64_t ChildProcess::ResidentBytes() const { return StatusKib("VmRSS") * 1024; }

int64_t ChildProcess::PeakResidentBytes() const { return StatusKib("VmHWM") * 1024; }

}  // namespace kvp

#include "launcher/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "util/status_macros.h"

extern char** environ;

namespace kvp {
namespace {

absl::Status ErrnoError(const std::string& what, int error) {
  const std::string message = absl::StrCat(what, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
}

std::string ShellQuoted(const std::string& argument) {
  constexpr absl::string_view kPlain = "-_./:=,+@%{}";
  bool plain = !argument.empty();
  for (const char c : argument) {
    plain &= absl::ascii_isalnum(c) || kPlain.find(c) != absl::string_view::npos;
  }
  if (plain) return argument;
  return absl::StrCat("'", absl::StrReplaceAll(argument, {{"'", "'\\''"}}), "'");
}

// The launcher's environment with the spec's on top, as execve takes it.
std::vector<std::string> Environment(const std::map<std::string, std::string>& own) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string variable = *entry;
    if (own.count(variable.substr(0, variable.find('='))) == 0) environment.push_back(variable);
  }
  for (const auto& [name, value] : own) environment.push_back(absl::StrCat(name, "=", value));
  return environment;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  ~FileDescriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

// Opens the log, writes the line that begins a run, and returns the descriptor and where the run's
// output begins.
absl::StatusOr<std::pair<int, int64_t>> OpenLog(const ProcessSpec& spec) {
  const int log = open(spec.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return ErrnoError(absl::StrCat(spec.log_path, ": can't open the log"), errno);
  const std::string line =
      absl::StrCat("--- ", absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone()),
                   " ", ShellLine(spec.argv), "\n");
  if (write(log, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    const int error = errno;
    close(log);
    return ErrnoError(absl::StrCat(spec.log_path, ": can't write the log"), error);
  }
  return std::make_pair(log, static_cast<int64_t>(lseek(log, 0, SEEK_END)));
}

// In the child: becomes the program, or reports errno through `error_pipe`.
[[noreturn]] void Execute(pid_t launcher, int output, int log, int error_pipe, char* const* argv,
                          char* const* envp) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The launcher may have died before the line above.
  if (getppid() != launcher) _exit(1);
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execvpe(argv[0], argv, envp);
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(error_pipe, &error, sizeof(error));
  _exit(127);
}

// The children of this process, zombies included.
std::vector<pid_t> Children() {
  std::vector<pid_t> children;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    std::ifstream file(entry.path() / "stat");
    std::string stat;
    std::getline(file, stat);
    // "pid (name) state parent …", where the name may hold anything.
    const size_t name_end = stat.rfind(") ");
    if (name_end == std::string::npos || name_end + 4 >= stat.size()) continue;
    pid_t parent = 0;
    const std::string rest = stat.substr(name_end + 4);
    if (absl::SimpleAtoi(rest.substr(0, rest.find(' ')), &parent) && parent == getpid()) {
      children.push_back(pid);
    }
  }
  return children;
}

}  // namespace

std::string ProcessEnd::Text() const {
  if (!signalled) return absl::StrCat("exit status ", code);
  return absl::StrFormat("signal %d (%s)", code, strsignal(code));
}

std::string ShellLine(const std::vector<std::string>& argv) {
  return absl::StrJoin(argv, " ", [](std::string* out, const std::string& argument) {
    absl::StrAppend(out, ShellQuoted(argument));
  });
}

Process::Process(ProcessSpec spec, pid_t pid, int64_t log_begin)
    : spec_(std::move(spec)), pid_(pid), log_begin_(log_begin) {}

absl::StatusOr<std::unique_ptr<Process>> Process::Start(const ProcessSpec& spec) {
  const std::vector<std::string> environment = Environment(spec.env);
  const std::vector<char*> argv = Pointers(spec.argv);
  const std::vector<char*> envp = Pointers(environment);
  ASSIGN_OR_RETURN(const auto log, OpenLog(spec));
  const FileDescriptor log_file(log.first);
  const FileDescriptor output_file(
      spec.output_path.empty()
          ? -1
          : open(spec.output_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!spec.output_path.empty() && output_file.get() < 0) {
    return ErrnoError(absl::StrCat(spec.output_path, ": can't write"), errno);
  }
  const int output = output_file.get() < 0 ? log_file.get() : output_file.get();
  int error_pipe[2];
  if (pipe2(error_pipe, O_CLOEXEC) != 0) return ErrnoError(spec.name + ": pipe", errno);
  const FileDescriptor error_reader(error_pipe[0]);
  const pid_t launcher = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    Execute(launcher, output, log_file.get(), error_pipe[1], argv.data(), envp.data());
  }
  const int fork_error = errno;
  close(error_pipe[1]);
  if (pid < 0) return ErrnoError(spec.name + ": fork", fork_error);
  // Both sides do this, so that the group is there whoever comes first.
  setpgid(pid, pid);
  int error = 0;
  ssize_t bytes = 0;
  do {
    bytes = read(error_pipe[0], &error, sizeof(error));
  } while (bytes < 0 && errno == EINTR);
  if (bytes == sizeof(error)) {
    waitpid(pid, nullptr, 0);
    return ErrnoError(absl::StrCat(spec.name, ": can't execute ", spec.argv[0]), error);
  }
  return std::unique_ptr<Process>(new Process(spec, pid, log.second));
}

Process::~Process() {
  if (end_.has_value()) return;
  kill(-pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<ProcessEnd> Process::Reap() {
  if (end_.has_value()) return end_;
  siginfo_t info;
  info.si_pid = 0;
  if (waitid(P_PID, pid_, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
    return std::nullopt;
  }
  // Before the process is reaped, its number can't be another group's.
  kill(-pid_, SIGKILL);
  int status = 0;
  waitpid(pid_, &status, 0);
  end_ = WIFSIGNALED(status) ? ProcessEnd{true, WTERMSIG(status)}
                             : ProcessEnd{false, WEXITSTATUS(status)};
  return end_;
}

void Process::Signal(int signal) {
  if (!end_.has_value()) kill(-pid_, signal);
}

void KillOrphans(const std::vector<pid_t>& keep) {
  while (true) {
    bool any = false;
    for (const pid_t pid : Children()) {
      if (std::find(keep.begin(), keep.end(), pid) != keep.end()) continue;
      any = true;
      kill(pid, SIGKILL);
      while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    if (!any) return;
  }
}

}  // namespace kvp

// One child process: started without a shell, in a process group of its own, logging to a file, and
// gone when the launcher is gone.

#ifndef KVP_LAUNCHER_PROCESS_H_
#define KVP_LAUNCHER_PROCESS_H_

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvp {

// A process to start.
struct ProcessSpec {
  // ROLE-INDEX, as in "collector-train-0"; unique among those that run.
  std::string name;
  // argv[0] is the program: a path, or a name that is looked up in PATH.
  std::vector<std::string> argv;
  // Set on top of the launcher's own environment.
  std::map<std::string, std::string> env;
  // Standard output and error are appended here, after a line with the time and the command.
  std::string log_path;
  // Where this isn't empty, standard output replaces this file's contents instead.
  std::string output_path;
  // Where it runs; empty: on the launcher's machine. Others reach it there by `address`.
  std::string host;
  std::string address = "127.0.0.1";
  // Of a server: the file that it writes its port to. Its argv has "--listen=ADDRESS:0".
  std::string port_file;
  // What asks it to drain and end.
  int stop_signal = SIGTERM;
};

// How a process ended.
struct ProcessEnd {
  bool signalled = false;
  // The signal's number, or the exit status.
  int code = 0;

  bool ok() const { return !signalled && code == 0; }
  // "exit status 3", "signal 9 (Killed)".
  std::string Text() const;
};

// `argv` in one line that a shell would read as the same arguments.
std::string ShellLine(const std::vector<std::string>& argv);

// A running child and its process group. Not thread-safe; no call blocks, but the destructor does
// until the child is reaped. The kernel kills the child when the *thread* that started it ends, so
// start it from the main thread.
class Process {
 public:
  // NOT_FOUND where there is no such program or no folder for its log, UNAVAILABLE where it, or its
  // log file, can't be opened or executed.
  static absl::StatusOr<std::unique_ptr<Process>> Start(const ProcessSpec& spec);

  // Kills what is still running of the process group.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  const ProcessSpec& spec() const { return spec_; }
  pid_t pid() const { return pid_; }
  // Where this run's output begins in the log file.
  int64_t log_begin() const { return log_begin_; }

  // How it ended, where it has: then what is left of its process group is killed too.
  std::optional<ProcessEnd> Reap();

  // Sends `signal` to the process group.
  void Signal(int signal);

 private:
  Process(ProcessSpec spec, pid_t pid, int64_t log_begin);

  const ProcessSpec spec_;
  const pid_t pid_;
  const int64_t log_begin_;
  std::optional<ProcessEnd> end_;
};

// Kills and reaps every child of this process but `keep`, and their descendants as they become
// children (see PR_SET_CHILD_SUBREAPER).
void KillOrphans(const std::vector<pid_t>& keep);

}  // namespace kvp

#endif  // KVP_LAUNCHER_PROCESS_H_

// Backend: where a plan's processes run.

#ifndef KVP_LAUNCHER_BACKEND_H_
#define KVP_LAUNCHER_BACKEND_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "launcher/process.h"

namespace kvp {

// A process that ended.
struct EndedProcess {
  ProcessSpec spec;
  ProcessEnd end;
  // Where its output begins in its log file.
  int64_t log_begin = 0;
};

// Starts, watches and stops processes, each known by its spec's name. Not thread-safe: for the
// launcher's main thread. A backend's destructor kills what is still running.
class Backend {
 public:
  struct Events {
    // In the order in which they were started.
    std::vector<EndedProcess> ended;
    // The signal that asked the launcher to stop (SIGINT, SIGTERM, SIGHUP), or 0.
    int stop_signal = 0;
  };

  struct Started {
    pid_t pid = 0;
    // Where the process's output will begin in its log file.
    int64_t log_begin = 0;
  };

  virtual ~Backend() = default;

  // ALREADY_EXISTS where a process of that name is running; errors as Process::Start.
  virtual absl::StatusOr<Started> Start(const ProcessSpec& spec) = 0;

  // Blocks until a process has ended, the launcher is asked to stop, or `timeout` is over. What it
  // reported is forgotten.
  virtual absl::StatusOr<Events> Wait(absl::Duration timeout) = 0;

  // Asks the named processes to stop (by their stop_signal), and kills (SIGKILL) what is still
  // running after `drain`, or once the launcher is asked to stop (again). Names that aren't running
  // are ignored. Returns how those that were ended.
  virtual absl::StatusOr<std::vector<EndedProcess>> Stop(const std::vector<std::string>& names,
                                                         absl::Duration drain) = 0;

  // Stops everything.
  virtual absl::StatusOr<std::vector<EndedProcess>> StopAll(absl::Duration drain) = 0;
};

}  // namespace kvp

#endif  // KVP_LAUNCHER_BACKEND_H_

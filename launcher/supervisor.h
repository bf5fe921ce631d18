// Supervisor: keeps a job's processes running: asks servers how they are, starts again what died,
// and gives up on what is hopeless.

#ifndef KVP_LAUNCHER_SUPERVISOR_H_
#define KVP_LAUNCHER_SUPERVISOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "launcher/backend.h"
#include "launcher/job_state.h"
#include "launcher/log_follower.h"
#include "launcher/process.h"
#include "util/tls_files.h"

namespace kvp {

// Not thread-safe; for the launcher's main thread. A server is a process with a port file: it
// serves once the file is there and its health check says so, and is then asked again and again;
// one that dies, or doesn't answer, is started again on the same port.
class Supervisor {
 public:
  struct Options {
    // How often each process is started again.
    int retries = 0;
    // The wait before that: doubled each time.
    absl::Duration first_backoff = absl::Seconds(1);
    absl::Duration longest_backoff = absl::Minutes(1);
    // How long a server may take until it serves.
    absl::Duration start_timeout = absl::Seconds(60);
    // A server that serves is asked in these intervals; after so many failures in a row it is
    // killed.
    absl::Duration health_interval = absl::Seconds(10);
    absl::Duration health_timeout = absl::Seconds(5);
    int health_failures = 3;
    // From SIGTERM to SIGKILL.
    absl::Duration drain = absl::Seconds(20);
    TlsFiles tls;
  };

  // `backend` isn't owned. `say` is told, in a line each, what a person should know.
  Supervisor(Backend* backend, Options options, std::function<void(absl::string_view)> say);

  // Starts a process of `stage`. Errors as Backend::Start.
  absl::Status Start(const std::string& stage, const ProcessSpec& spec);

  // Blocks until something has happened, at most for `timeout`. INTERNAL, naming the process, how
  // it ended, its log and its last line, for a hopeless one; CANCELLED where the launcher was asked
  // to stop; UNAVAILABLE for what the system refused.
  absl::Status Wait(absl::Duration timeout);

  // Whether every process of the stage has ended well.
  bool IsDone(const std::string& stage) const;
  // Whether every server of the stage serves.
  bool Serves(const std::string& stage) const;
  // HOST:PORTs of the stage's servers, comma-separated, in the order in which they were started.
  std::string Addresses(const std::string& stage) const;

  // Stops a stage's processes, and lets them drain. INTERNAL where one didn't stop well.
  absl::Status StopStage(const std::string& stage);
  // Stops everything: servers after all others, which may still have something to tell them.
  absl::Status StopAll();

  // Of every process that was started, in order; reads what the logs have gained.
  std::vector<ProcessState> Processes();

  // The signal that asked the launcher to stop, or 0.
  int stop_signal() const { return stop_signal_; }

 private:
  struct Watched {
    ProcessSpec spec;
    ProcessState state;
    std::unique_ptr<LogFollower> follower;
    // Where its last run's output begins in the log.
    int64_t log_begin = 0;
    absl::Time started;
    // When it is started again.
    std::optional<absl::Time> restart_at;
    // Of a server, once its port is known.
    std::string address;
    absl::Time next_check;
    int health_failures = 0;

    bool is_server() const { return !spec.port_file.empty(); }
  };

  Watched* Find(const std::string& name);
  absl::Status Run(Watched* watched);
  absl::Status StartDue(absl::Time now);
  // Until the next restart or health check, `timeout` at most.
  absl::Duration TimeToWait(absl::Time now, absl::Duration timeout) const;
  absl::Status CheckServers(absl::Time now);
  absl::Status TakeHealth(Watched* server, const absl::Status& health, absl::Time now);
  absl::Status HandleEnded(std::vector<EndedProcess> ended);
  absl::Status HandleDeath(Watched* watched, const ProcessEnd& end, absl::string_view how);
  // Tools that are asked to stop by somebody else finish what is in hand and exit with 0: whether
  // the last progress that it told of wasn't the end.
  static bool EndedEarly(Watched* watched);
  absl::Status Failure(Watched* watched, absl::string_view how);
  absl::StatusOr<std::vector<EndedProcess>> Stop(const std::function<bool(const Watched&)>& which);

  Backend* const backend_;
  const Options options_;
  const std::function<void(absl::string_view)> say_;
  std::vector<std::unique_ptr<Watched>> watched_;
  int stop_signal_ = 0;
};

}  // namespace kvp

#endif  // KVP_LAUNCHER_SUPERVISOR_H_

// A launch: one job run from shards to report on a backend.

#ifndef KVP_LAUNCHER_LAUNCH_H_
#define KVP_LAUNCHER_LAUNCH_H_

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "launcher/backend.h"
#include "launcher/log_follower.h"
#include "launcher/manifest.h"
#include "launcher/plan.h"
#include "launcher/progress_display.h"
#include "proto/job.pb.h"

namespace kvp {

struct LaunchOptions {
  // How often a process that died is started again; shards never are.
  int retries = 0;
  absl::Duration shard_start_timeout = absl::Seconds(60);
  // From SIGTERM to SIGKILL.
  absl::Duration drain = absl::Seconds(20);
  // Progress, and the last log lines of a process that died; not owned.
  FILE* out = stderr;
  bool terminal = false;
};

// Runs a plan's stages, one after the other, while its shards are up. Not thread-safe.
class Launch {
 public:
  // `backend` is not owned. `manifest_path` is rewritten after every stage.
  Launch(Plan plan, Manifest manifest, std::string manifest_path, Backend* backend,
         LaunchOptions options);

  // Returns when everything has stopped, in order after the last stage, or on the first failure:
  // INTERNAL, naming the process, how it ended and its log; CANCELLED where the launcher was asked
  // to stop (stop_signal() says by what); UNAVAILABLE for what the system refused.
  absl::Status Run();

  int stop_signal() const { return stop_signal_; }

 private:
  absl::Status RunStages();
  absl::Status StartShards();
  absl::Status RunStage(const Stage& stage);
  absl::Status StopShards();
  // Runs `body` as the next stage: shown, timed and recorded.
  template <typename Body>
  absl::Status Timed(const std::string& name, Body body);

  absl::Status Start(const ProcessSpec& spec);
  // Waits for events; a shard that ended, or a request to stop, comes back as an error.
  absl::StatusOr<std::vector<EndedProcess>> WaitForEnded(absl::Duration timeout);
  // Whether the last progress that the process told of wasn't the end: tools that are asked to stop
  // by somebody else finish what is in hand and exit with 0.
  bool EndedEarly(const EndedProcess& process);
  // Starts it again, or fails.
  absl::Status HandleEnded(const EndedProcess& process);
  absl::Status Failure(const EndedProcess& process, const std::string& how);
  ProcessProgress TotalProgress();

  const Plan plan_;
  Manifest manifest_;
  const std::string manifest_path_;
  Backend* const backend_;
  const LaunchOptions options_;
  ProgressDisplay display_;
  int stage_number_ = 0;
  int stop_signal_ = 0;
  // The shards' addresses, comma-separated, once they serve.
  std::string addresses_;
  // Of the stage that runs.
  std::map<std::string, std::unique_ptr<LogFollower>> followers_;
  std::map<std::string, int> attempts_;
};

}  // namespace kvp

#endif  // KVP_LAUNCHER_LAUNCH_H_

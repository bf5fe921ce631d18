// A launch: one job run from shards to report on a backend.

#ifndef KVP_LAUNCHER_LAUNCH_H_
#define KVP_LAUNCHER_LAUNCH_H_

#include <cstdio>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "launcher/backend.h"
#include "launcher/job_state.h"
#include "launcher/manifest.h"
#include "launcher/plan.h"
#include "launcher/progress_display.h"
#include "launcher/supervisor.h"
#include "proto/job.pb.h"

namespace kvp {

struct LaunchOptions {
  Supervisor::Options supervisor;
  // Stages that an earlier launch of the same job has done: not run again where their outputs are
  // there.
  std::set<std::string> done_before;
  // Progress, and the last log lines of a process that died; not owned.
  FILE* out = stderr;
  bool terminal = false;
};

// Runs a plan's stages, one after the other, while its shards are up. Not thread-safe.
class Launch {
 public:
  // `backend` is not owned. The manifest and the state (launcher/job_state.h) in the plan's output
  // folder are rewritten as it goes.
  Launch(Plan plan, Manifest manifest, Backend* backend, LaunchOptions options);

  // Returns when everything has stopped, in order after the last stage, or on the first failure:
  // INTERNAL, naming the process, how it ended and its log; CANCELLED where the launcher was asked
  // to stop (stop_signal() says by what); UNAVAILABLE for what the system refused.
  absl::Status Run();

  int stop_signal() const { return supervisor_.stop_signal(); }

 private:
  absl::Status RunStages();
  absl::Status StartShards();
  absl::Status RunStage(const Stage& stage);
  bool WasDone(const Stage& stage) const;
  // Runs `body` as the next stage: shown, timed and recorded.
  template <typename Body>
  absl::Status Timed(const std::string& name, Body body);
  // Waits for what happens next, and records it.
  absl::Status Wait(absl::Duration timeout);
  absl::Status RecordState();
  ProcessProgress TotalProgress();

  const Plan plan_;
  Manifest manifest_;
  Backend* const backend_;
  const LaunchOptions options_;
  ProgressDisplay display_;
  Supervisor supervisor_;
  JobState state_;
  // What was last written of state_, but for progress and time.
  std::string recorded_;
};

}  // namespace kvp

#endif  // KVP_LAUNCHER_LAUNCH_H_

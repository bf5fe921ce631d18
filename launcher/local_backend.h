// The backend that runs a plan's processes on this machine, as children of the launcher.

#ifndef KVP_LAUNCHER_LOCAL_BACKEND_H_
#define KVP_LAUNCHER_LOCAL_BACKEND_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "launcher/backend.h"
#include "launcher/process.h"

namespace kvp {

// Takes SIGCHLD, SIGINT, SIGTERM and SIGHUP over from the process while it lives: they are blocked
// and read from a descriptor, so that waiting neither polls nor misses one. Makes the process the
// parent of orphaned descendants, and kills those when the process that they came from has ended.
// One at a time; the program has no other children.
class LocalBackend : public Backend {
 public:
  // UNAVAILABLE where the kernel refuses.
  static absl::StatusOr<std::unique_ptr<LocalBackend>> Create();

  ~LocalBackend() override;

  absl::StatusOr<Started> Start(const ProcessSpec& spec) override;
  absl::StatusOr<Events> Wait(absl::Duration timeout) override;
  absl::StatusOr<std::vector<EndedProcess>> Stop(const std::vector<std::string>& names,
                                                 absl::Duration drain) override;
  absl::StatusOr<std::vector<EndedProcess>> StopAll(absl::Duration drain) override;

 private:
  explicit LocalBackend(int signals) : signals_(signals) {}

  // Blocks for `timeout` or until a signal is there; returns the last signal that asks to stop, or
  // 0.
  absl::StatusOr<int> ReadSignals(absl::Duration timeout);
  // Takes the processes that have ended out of running_.
  std::vector<EndedProcess> TakeEnded();

  const int signals_;  // signalfd
  std::vector<std::unique_ptr<Process>> running_;
  // When the launcher was last asked to stop: the same Ctrl-C may arrive twice.
  absl::Time stop_asked_ = absl::InfinitePast();
};

}  // namespace kvp

#endif  // KVP_LAUNCHER_LOCAL_BACKEND_H_

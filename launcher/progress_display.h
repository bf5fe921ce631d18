// How far the launch is, for the person who waits: one line updated in place on a terminal, plain
// lines elsewhere.

#ifndef KVP_LAUNCHER_PROGRESS_DISPLAY_H_
#define KVP_LAUNCHER_PROGRESS_DISPLAY_H_

#include <cstdio>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "launcher/log_follower.h"

namespace kvp {

// Not thread-safe.
class ProgressDisplay {
 public:
  // Writes to `out`, not owned; in place where `terminal`.
  ProgressDisplay(FILE* out, bool terminal) : out_(out), terminal_(terminal) {}

  // Begins stage `number` of `count`.
  void Begin(int number, int count, absl::string_view stage, absl::Time now);
  // Redraws the line; elsewhere than on a terminal writes one at most every 10 seconds, where
  // something is new.
  void Update(const ProcessProgress& progress, absl::Time now);
  // Ends the stage with its time and `result`, as in "done" or "failed".
  void End(absl::string_view result, absl::Time now);
  // A line of its own.
  void Line(absl::string_view text);

 private:
  void ClearLine();

  FILE* const out_;
  const bool terminal_;
  std::string prefix_;  // "[2/4] collect train"
  absl::Time begin_;
  absl::Time last_line_;
  ProcessProgress last_;
  bool drawn_ = false;
};

// "3.2 s", "1 min 05 s".
std::string ElapsedText(absl::Duration elapsed);

}  // namespace kvp

#endif  // KVP_LAUNCHER_PROGRESS_DISPLAY_H_

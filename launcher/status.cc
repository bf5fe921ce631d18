// kvp status: how far a job is.

#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "launcher/job_state.h"
#include "util/command_line.h"

ABSL_FLAG(bool, json, false, "Print status.json in the place of a table.");
ABSL_FLAG(bool, watch, false, "Go on, every second, until the job has ended.");

namespace {

constexpr char kUsage[] =
    R"(status: how far a job is: its stage, and each process with its host, pid, port, restarts and progress.

  kvp status OUTPUT_DIR [--json] [--watch]

Examples:
  kvp status out/quickstart
  kvp status out/quickstart --watch
  kvp status out/quickstart --json | jq -r '.processes[] | select(.status == "running") | .name'

Exit status: 0 the job runs or is done, 1 it failed, was stopped or interrupted, or there is none, 2 wrong usage.)";

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> folders = kvp::ParseCommandLine(argc, argv, kUsage);
  if (folders.size() != 1) {
    return kvp::UsageError(
        absl::StrCat("needs one output folder, got ", folders.size(), " (kvp status --help)"));
  }
  const bool json = absl::GetFlag(FLAGS_json), watch = absl::GetFlag(FLAGS_watch);
  const bool redraw = watch && !json && isatty(STDOUT_FILENO) == 1;
  while (true) {
    const absl::StatusOr<kvp::JobState> state = kvp::ReadJobState(folders[0]);
    if (!state.ok()) return kvp::ExitStatus(state.status());
    if (redraw) std::cout << "\x1b[H\x1b[2J";
    std::cout << (json ? kvp::JobStateJson(*state) : kvp::JobStateText(*state, absl::Now()))
              << std::flush;
    const bool running = state->status == "running";
    if (!watch || !running) return running || state->status == "done" ? 0 : kvp::kExitFailed;
    absl::SleepFor(absl::Seconds(1));
  }
}

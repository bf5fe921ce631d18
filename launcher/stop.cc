// kvp stop: ends a job as Ctrl-C in its launch would.

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "launcher/command_output.h"
#include "launcher/job_folder.h"
#include "launcher/job_state.h"
#include "launcher/slurm.h"
#include "util/command_line.h"
#include "util/status_macros.h"

ABSL_FLAG(absl::Duration, timeout, absl::Minutes(2), "How long to wait until the job has stopped.");

namespace {

constexpr char kUsage[] =
    R"(stop: asks a job to stop and waits until nothing of it runs. What was done is kept: kvp launch --resume goes on.

  kvp stop OUTPUT_DIR [--timeout 2m]

Examples:
  kvp stop out/quickstart

Exit status: 0 nothing runs any more, 1 failed, 2 wrong usage.)";

absl::Status Stop(const std::string& folder) {
  if (const std::vector<std::string> jobs = kvp::SubmittedJobs(folder); !jobs.empty()) {
    // The batch script is the launcher itself: it gets SIGTERM first, and drains. What has ended
    // isn't known to scancel any more, which is as good.
    std::vector<std::string> scancel = {"scancel", "--quiet"};
    scancel.insert(scancel.end(), jobs.rbegin(), jobs.rend());
    RETURN_IF_ERROR(kvp::CommandOutput(scancel).status());
    std::cout << "cancelled " << jobs.size() << " jobs of Slurm's" << std::endl;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const kvp::JobState state, kvp::ReadJobState(folder));
  if (!kvp::IsJobRunning(folder)) {
    std::cout << state.name << " isn't running: " << state.status << std::endl;
    return absl::OkStatus();
  }
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  if (state.host != host) {
    return absl::FailedPreconditionError(absl::StrCat(folder, ": its launcher runs on ", state.host,
                                                      ", as process ", state.pid,
                                                      ": stop it there"));
  }
  if (state.pid <= 1 || kill(static_cast<pid_t>(state.pid), SIGTERM) != 0) {
    return absl::UnavailableError(absl::StrCat(folder, ": can't signal its launcher ", state.pid,
                                               ": ", std::strerror(errno)));
  }
  const absl::Time deadline = absl::Now() + absl::GetFlag(FLAGS_timeout);
  while (kvp::IsJobRunning(folder)) {
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          folder, ": it still runs after ", absl::FormatDuration(absl::GetFlag(FLAGS_timeout))));
    }
    absl::SleepFor(absl::Milliseconds(50));
  }
  ASSIGN_OR_RETURN(const kvp::JobState after, kvp::ReadJobState(folder));
  std::cout << after.name << ": " << after.status << std::endl;
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> folders = kvp::ParseCommandLine(argc, argv, kUsage);
  if (folders.size() != 1) {
    return kvp::UsageError(
        absl::StrCat("needs one output folder, got ", folders.size(), " (kvp stop --help)"));
  }
  return kvp::ExitStatus(Stop(folders[0]));
}

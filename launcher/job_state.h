// OUTPUT/status.json: how far a job is, for people and programs. The launcher rewrites it whenever
// something changes.

#ifndef KVP_LAUNCHER_JOB_STATE_H_
#define KVP_LAUNCHER_JOB_STATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "launcher/log_follower.h"

namespace kvp {

struct ProcessState {
  // ROLE-INDEX, as in "collector-train-0".
  std::string name;
  std::string stage;
  // Where it runs.
  std::string host;
  // On the launcher's host: of what it started, which may be mpirun or srun. 0: not running.
  int64_t pid = 0;
  // That it serves on; 0 for what isn't a server.
  int port = 0;
  // "starting", "running", "waiting" (to be started again), "done", "failed" or "stopped".
  std::string status;
  int restarts = 0;
  std::string log;
  // The last that it told of.
  std::optional<ProcessProgress> progress;
};

struct JobState {
  std::string name;
  // "running", "done", "failed" or "stopped"; and, for readers, "interrupted": it says "running",
  // but no launch is.
  std::string status = "running";
  // Why, where it failed.
  std::string error;
  // The launcher.
  std::string host;
  int64_t pid = 0;
  // The stage that runs, from 1.
  std::string stage;
  int stage_number = 0;
  int stage_count = 0;
  absl::Time begin;
  absl::Time updated;
  std::vector<ProcessState> processes;
};

// The file's text: JSON, keys in a fixed order.
std::string JobStateJson(const JobState& state);

// INVALID_ARGUMENT, naming `file` and the field, where the text isn't a job's state.
absl::StatusOr<JobState> ParseJobState(absl::string_view text, const std::string& file);

// Reads FOLDER/status.json, and corrects its status where no launch is left to do so. NOT_FOUND
// where the folder is no job's.
absl::StatusOr<JobState> ReadJobState(const std::string& folder);

// A table for a terminal: the job, then a line for each process.
std::string JobStateText(const JobState& state, absl::Time now);

// Whether ROLE/INDEX, ROLE, or ROLE-INDEX, names the process: "collector/0" also names
// "collector-train-0", and "collector" every collector.
bool NamesProcess(absl::string_view selection, absl::string_view name);

}  // namespace kvp

#endif  // KVP_LAUNCHER_JOB_STATE_H_

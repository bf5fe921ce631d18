// A job's output folder: where its files are, and which launch runs in it.

#ifndef KVP_LAUNCHER_JOB_FOLDER_H_
#define KVP_LAUNCHER_JOB_FOLDER_H_

#include <string>

#include "absl/status/status.h"

namespace kvp {

// FOLDER/status.json: how far the job is (launcher/job_state.h).
std::string StatePath(const std::string& folder);
// FOLDER/manifest.json: what the job was made from (launcher/manifest.h).
std::string ManifestPath(const std::string& folder);

// Makes FOLDER/logs and takes the folder's lock for as long as this process, or one that it forks,
// lives: one launch at a time. FAILED_PRECONDITION where another one holds it; UNAVAILABLE, with
// the path, on an I/O error.
absl::Status LockJobFolder(const std::string& folder);

// Whether a launch holds the folder's lock. Takes none itself.
bool IsJobRunning(const std::string& folder);

}  // namespace kvp

#endif  // KVP_LAUNCHER_JOB_FOLDER_H_

// OUTPUT/manifest.json: what a run was made from, how long its stages took, and how it ended.

#ifndef KVP_LAUNCHER_MANIFEST_H_
#define KVP_LAUNCHER_MANIFEST_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/job.pb.h"

namespace kvp {

struct StageRecord {
  std::string name;
  double seconds = 0;
  // "done", "failed" or "stopped".
  std::string result;
};

// One run.
struct Manifest {
  std::string job_file;
  // The effective job.
  Job job;
  // Size and CRC32C of the programs that ran, by path: which build it was.
  std::map<std::string, std::string> programs;
  // Of what it read (launcher/input_hashes.h).
  std::map<std::string, std::string> inputs;
  // How often the run was resumed.
  int resumed = 0;
  absl::Time begin;
  std::vector<StageRecord> stages;
  // "running", "done", "failed" or "stopped".
  std::string result = "running";
  // Why, where it failed.
  std::string error;
};

// The file's text: JSON, keys in a fixed order.
std::string ManifestText(const Manifest& manifest);

// Atomically. UNAVAILABLE with the path on an I/O error.
absl::Status WriteManifest(const Manifest& manifest, const std::string& path);

// What the file says of job, programs, inputs, stages and result, or nothing where there is no such
// file. INVALID_ARGUMENT, with the path and the field, where it isn't a manifest.
absl::StatusOr<std::optional<Manifest>> ReadManifest(const std::string& path);

// "SIZE bytes, crc32c HEX". Errors as ReadFile.
absl::StatusOr<std::string> ProgramIdentity(const std::string& path);

}  // namespace kvp

#endif  // KVP_LAUNCHER_MANIFEST_H_

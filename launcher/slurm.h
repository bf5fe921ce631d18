// A job as Slurm's batch scripts: one for each part, each a job that depends on the one before.

#ifndef KVP_LAUNCHER_SLURM_H_
#define KVP_LAUNCHER_SLURM_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace kvp {

struct BatchScript {
  // "collect", "train" or "evaluate".
  std::string part;
  std::string text;
};

// Where scripts, and the ids of the jobs that were made of them, are kept.
std::string SlurmFolder(const std::string& output_dir);

// The scripts of a job's parts. In its allocation each runs `kvp launch --backend=srun`, by
// `kvp_path`, for its stages of the job in OUTPUT_DIR/slurm/job.textproto, going on where an
// earlier attempt ended. INVALID_ARGUMENT, naming it, for a value that no #SBATCH line can hold.
absl::StatusOr<std::vector<BatchScript>> SlurmScripts(const Job& job, const std::string& kvp_path);

// Writes scripts and job; returns the scripts' paths.
absl::StatusOr<std::vector<std::string>> WriteSlurmScripts(const Job& job,
                                                           const std::string& kvp_path);

// Submits the scripts, each to start once the one before has ended well, and returns the jobs' ids,
// which are also written to OUTPUT_DIR/slurm/jobs.
absl::StatusOr<std::vector<std::string>> SubmitScripts(const std::string& output_dir,
                                                       const std::vector<std::string>& paths);

// The ids in OUTPUT_DIR/slurm/jobs; none where there is no such file.
std::vector<std::string> SubmittedJobs(const std::string& output_dir);

}  // namespace kvp

#endif  // KVP_LAUNCHER_SLURM_H_

// The job file: parsed, overridden, completed with defaults, and checked, so that what follows may
// rely on it.

#ifndef KVP_LAUNCHER_JOB_H_
#define KVP_LAUNCHER_JOB_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/job.pb.h"

namespace kvp {

struct JobOptions {
  // "trainers.steps=500", as in --set, in order; see launcher/job_text.h.
  std::vector<std::string> overrides;
  // Replaces the job's output_dir where it isn't empty.
  std::string output_dir;
};

// The effective job: parsed, overridden, every default filled in, every path absolute, checked.
// INVALID_ARGUMENT in one line that names the file, the field and the value (and the line where the
// text is malformed); NOT_FOUND where the file, or a file that it names, doesn't exist.
absl::StatusOr<Job> LoadJob(const std::string& path, const JobOptions& options = {});

// The same of a job that was an effective one before, `name` being where it comes from. Where its
// shards were in its output folder, they follow it to options.output_dir.
absl::StatusOr<Job> ReloadJob(Job job, const std::string& name, const JobOptions& options = {});

// The steps of LoadJob after the text is parsed (launcher/job_text.h), each without touching the
// file system.

// Makes relative input paths relative to `folder`.
void ResolveInputPaths(const std::string& folder, Job* job);

// Makes relative output paths relative to `folder`, and fills in every default of the sections that
// are present, of `shards` and of `collectors`.
void FillDefaults(const std::string& folder, Job* job);

// Checks the values of a job that FillDefaults has seen. INVALID_ARGUMENT naming `file`, the field
// and the value.
absl::Status ValidateJob(const Job& job, const std::string& file);

// The policies that `kvp evaluate` knows and that need no file but the agents, in the order of
// reports; "ada:" may stand before each.
const std::vector<std::string>& EvaluationPolicies();
// Those that a job evaluates which names none.
const std::vector<std::string>& DefaultPolicies();

// Whether a run of `job` may go on in the output folder of a run of `previous`, whose traces are
// still there: the model, the shards and the datasets are the same, but for datasets or prompts
// added at the end. FAILED_PRECONDITION naming the first difference.
absl::Status CanContinue(const Job& previous, const Job& job);

}  // namespace kvp

#endif  // KVP_LAUNCHER_JOB_H_

// The plan: which processes a job is, in which order. A pure function of the job; the backend runs
// it.

#ifndef KVP_LAUNCHER_PLAN_H_
#define KVP_LAUNCHER_PLAN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/model_geometry.h"
#include "launcher/process.h"
#include "proto/job.pb.h"
#include "util/head_split.h"

namespace kvp {

// In an argument, stands for the shards' addresses, which are known only once they serve.
inline constexpr char kShardAddresses[] = "{shards}";

// Processes that run side by side. The shards run until they are stopped; any other stage ends when
// all of its processes have exited with 0, and has then written `outputs`. `temporaries` are what
// it needs to go on after a crash; they are removed once it has ended well.
struct Stage {
  std::string name;
  std::vector<ProcessSpec> processes;
  std::vector<std::string> outputs;
  std::vector<std::string> temporaries;
};

struct Plan {
  std::string output_dir;
  // Of each shard, by its index: the heads it owns, and the process.
  std::vector<HeadRange> shard_heads;
  Stage shards;
  // In order, while the shards are up.
  std::vector<Stage> stages;
};

struct PlanOptions {
  // The folder that holds storage/serve, collector/collect, trainer/train and eval/evaluate.
  std::string tools_dir;
  // Open MPI refuses to run as root unless told to.
  bool run_as_root = false;
};

// `job` is one that LoadJob gave. INVALID_ARGUMENT where there are more shards than heads.
absl::StatusOr<Plan> MakePlan(const Job& job, const ModelGeometry& geometry,
                              const PlanOptions& options);

// The results' places in the output folder.
std::string AgentsPath(const Job& job);
std::string ResultsPath(const Job& job);
std::string ReportPath(const Job& job);
std::string SummaryPath(const Job& job);

// What --dry-run prints: stages, processes, their environment and command lines, quoted for a
// shell.
std::string PlanText(const Plan& plan, const ModelGeometry& geometry);

}  // namespace kvp

#endif  // KVP_LAUNCHER_PLAN_H_

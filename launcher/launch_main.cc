#include "launcher/launch_main.h"

#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/util/message_differencer.h"
#include "launcher/estimate.h"
#include "launcher/guard.h"
#include "launcher/hosts.h"
#include "launcher/input_hashes.h"
#include "launcher/job.h"
#include "launcher/job_folder.h"
#include "launcher/launch.h"
#include "launcher/local_backend.h"
#include "launcher/manifest.h"
#include "launcher/model_geometry.h"
#include "launcher/plan.h"
#include "launcher/slurm.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/status_macros.h"
#include "util/tls_files.h"

ABSL_FLAG(std::string, set, "",
          "FIELD=VALUE: overrides a field of the job, as in trainers.steps=500, "
          "datasets[0].generated.count=96 or evaluation.budgets=0.5,0.25; an empty VALUE removes a "
          "field or section. May be given several times.");
ABSL_FLAG(std::string, output, "", "Output folder, in place of the job's output_dir.");
ABSL_FLAG(bool, dry_run, false,
          "Print the plan (stages, processes, command lines) and what it will take; do nothing.");
ABSL_FLAG(bool, resume, false,
          "Go on with a job that ended early, in whatever way: stages that were done aren't run "
          "again. The argument may be its output folder in place of the job file.");
ABSL_FLAG(bool, from_manifest, false,
          "The argument is a manifest.json: run its job again, on inputs that are still the same. "
          "With --output, in another folder.");
ABSL_FLAG(
    std::string, backend, "local",
    "Where the processes run: local (this machine), slurm (batch jobs, which are submitted), or "
    "srun (the Slurm allocation that this is in, which slurm's batch jobs use).");
ABSL_FLAG(bool, export_only, false, "With --backend=slurm: write the batch scripts, submit none.");
ABSL_FLAG(std::string, stages, "",
          "Run these stages only: collect, train or evaluate. Empty: all.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(launch: runs a job, on this machine or a cluster: shards, collectors, trainers, evaluation.

  kvp launch JOB.textproto [--set FIELD=VALUE]... [--output DIR] [--dry-run]
  kvp launch --resume OUTPUT_DIR
  kvp launch --from-manifest MANIFEST.json --output DIR

Everything that the run makes is in its output folder: agents.safetensors, results.json, report.html (each where the job
has its stage), manifest.json, status.json, the traces in shards/ and each process's log in logs/. Run again in the same folder,
it goes on with the traces that are there; with --resume also after the stages that were done. Ctrl-C stops everything cleanly.
kvp status, kvp logs and kvp stop look after the job.

Exit status: 0 done, 1 failed, 2 wrong usage or job file, 128+N stopped by signal N.

Examples:
  kvp launch launcher/jobs/quickstart.textproto
  kvp launch job.textproto --set trainers.steps=500 --set evaluation.policies=kvp,key_diff --output out/short
  kvp launch job.textproto --dry-run
  kvp launch --resume out/quickstart
  kvp launch --from-manifest out/quickstart/manifest.json --output out/again
  kvp launch job.textproto --backend=slurm --set resources.nodes=4)";

// Takes every "--set X" and "--set=X" out of `arguments`: a flag keeps its last value only.
absl::StatusOr<std::vector<std::string>> TakeOverrides(std::vector<std::string>* arguments) {
  std::vector<std::string> overrides, rest;
  for (size_t i = 0; i < arguments->size(); ++i) {
    const std::string& argument = (*arguments)[i];
    if (argument == "--set") {
      if (i + 1 == arguments->size()) {
        return absl::InvalidArgumentError("flag --set needs a value, FIELD=VALUE");
      }
      overrides.push_back((*arguments)[++i]);
    } else if (absl::StartsWith(argument, "--set=")) {
      overrides.push_back(argument.substr(6));
    } else {
      rest.push_back(argument);
    }
  }
  *arguments = std::move(rest);
  return overrides;
}

absl::StatusOr<std::map<std::string, std::string>> Programs(const Plan& plan) {
  std::map<std::string, std::string> programs;
  std::vector<Stage> stages = plan.stages;
  stages.push_back(plan.shards);
  for (const Stage& stage : stages) {
    for (const ProcessSpec& process : stage.processes) {
      for (const std::string& argument : process.argv) {
        // The tool itself, also where mpirun stands before it.
        if (argument.empty() || argument[0] != '/' || programs.count(argument) > 0) continue;
        ASSIGN_OR_RETURN(programs[argument], ProgramIdentity(argument));
      }
    }
  }
  return programs;
}

struct Outcome {
  absl::Status status;
  int stop_signal = 0;
};

// The same run, but for how often what dies is started again.
bool IsSameRun(Job a, Job b) {
  a.clear_retries();
  b.clear_retries();
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

// The manifest that the launch begins with. Of a run that is resumed it has what was done, which
// are the stages in `done_before`.
absl::StatusOr<Manifest> BeginManifest(const Job& job, const std::string& job_file,
                                       const Plan& plan, bool resume,
                                       std::set<std::string>* done_before) {
  ASSIGN_OR_RETURN(const std::optional<Manifest> previous,
                   ReadManifest(ManifestPath(job.output_dir())));
  if (previous.has_value()) RETURN_IF_ERROR(CanContinue(previous->job, job));
  Manifest manifest;
  manifest.job_file = job_file;
  manifest.job = job;
  manifest.begin = absl::Now();
  ASSIGN_OR_RETURN(manifest.programs, Programs(plan));
  ASSIGN_OR_RETURN(manifest.inputs, InputHashes(job));
  if (!resume || !previous.has_value() || !IsSameRun(previous->job, job)) return manifest;
  RETURN_IF_ERROR(CompareInputHashes(previous->inputs, manifest.inputs));
  manifest.resumed = previous->resumed + 1;
  for (const Stage& stage : plan.stages) {
    for (const StageRecord& record : previous->stages) {
      if (record.name != stage.name || record.result != "done") continue;
      manifest.stages.push_back(record);
      done_before->insert(stage.name);
      break;
    }
  }
  return manifest;
}

// Keeps the stages that --stages names.
void KeepStages(const std::string& part, Plan* plan) {
  if (part.empty()) return;
  std::vector<Stage> stages;
  for (Stage& stage : plan->stages) {
    if (stage.name == part || absl::StartsWith(stage.name, part + " ")) {
      stages.push_back(std::move(stage));
    }
  }
  plan->stages = std::move(stages);
}

// Spreads the plan over the backend's hosts; returns what clients need to talk to its shards.
absl::StatusOr<TlsFiles> Place(const Job& job, Plan* plan) {
  if (absl::GetFlag(FLAGS_backend) == "local") return TlsFiles();
  ASSIGN_OR_RETURN(const std::vector<Host> hosts, AllocatedHosts());
  PlaceOnHosts(hosts, plan);
  if (AllLoopback(hosts)) return TlsFiles();
  const std::string folder = job.output_dir() + "/tls";
  RETURN_IF_ERROR(SecureWithTls(hosts, folder, plan));
  return TlsFiles{folder + "/job.pem", folder + "/job.key", folder + "/ca.pem"};
}

Outcome RunJob(const Job& job, const std::string& job_file, Plan plan) {
  // Before the guard forks, so that the folder is locked until the guard, too, has ended.
  if (absl::Status status = LockJobFolder(job.output_dir()); !status.ok()) return {status};
  if (absl::Status status = StartGuard(); !status.ok()) return {status};
  LaunchOptions options;
  absl::StatusOr<Manifest> manifest =
      BeginManifest(job, job_file, plan, absl::GetFlag(FLAGS_resume), &options.done_before);
  if (!manifest.ok()) return {manifest.status()};
  KeepStages(absl::GetFlag(FLAGS_stages), &plan);
  absl::StatusOr<TlsFiles> tls = Place(job, &plan);
  if (!tls.ok()) return {tls.status()};
  absl::StatusOr<std::unique_ptr<LocalBackend>> backend = LocalBackend::Create();
  if (!backend.ok()) return {backend.status()};
  options.supervisor.retries = job.retries();
  options.supervisor.start_timeout = absl::Seconds(job.shards().start_timeout_s());
  options.supervisor.tls = *tls;
  options.terminal = isatty(fileno(options.out)) == 1;
  Launch launch(std::move(plan), *std::move(manifest), backend->get(), options);
  absl::Status status = launch.Run();
  return {std::move(status), launch.stop_signal()};
}

// Writes the job's batch scripts and submits them, unless they are only asked for.
absl::Status RunOnSlurm(const Job& job, const std::string& kvp_path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, WriteSlurmScripts(job, kvp_path));
  for (const std::string& path : paths) std::cout << "script   " << path << "\n";
  if (absl::GetFlag(FLAGS_export_only)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> ids, SubmitScripts(job.output_dir(), paths));
  for (const std::string& id : ids) std::cout << "job      " << id << "\n";
  std::cout << "squeue shows them; kvp status, logs and stop " << job.output_dir()
            << " look after them" << std::endl;
  return absl::OkStatus();
}

// The job of the manifest in `path`, whose inputs must be what they were.
absl::StatusOr<Job> JobOfManifest(const std::string& path, const JobOptions& options) {
  ASSIGN_OR_RETURN(const std::optional<Manifest> manifest, ReadManifest(path));
  if (!manifest.has_value()) return absl::NotFoundError(absl::StrCat(path, ": there is none"));
  ASSIGN_OR_RETURN(Job job, ReloadJob(manifest->job, path, options));
  ASSIGN_OR_RETURN(const auto inputs, InputHashes(manifest->job));
  RETURN_IF_ERROR(CompareInputHashes(manifest->inputs, inputs));
  return job;
}

// The job that the command line names: a file's, a folder's that is resumed, or a manifest's.
absl::StatusOr<Job> JobOfCommandLine(const std::string& path, const JobOptions& options) {
  if (absl::GetFlag(FLAGS_from_manifest)) return JobOfManifest(path, options);
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    if (absl::GetFlag(FLAGS_resume)) return JobOfManifest(ManifestPath(path), options);
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is a folder: --resume goes on with the job in it"));
  }
  return LoadJob(path, options);
}

}  // namespace

int LaunchMain(int argc, char** argv, const std::string& tools_dir) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  absl::StatusOr<std::vector<std::string>> overrides = TakeOverrides(&arguments);
  std::vector<char*> rest = {argv[0]};
  for (std::string& argument : arguments) rest.push_back(argument.data());
  const std::vector<std::string> positional =
      ParseCommandLine(static_cast<int>(rest.size()), rest.data(), kUsage);
  if (!overrides.ok()) return UsageError(overrides.status().message());
  if (positional.size() != 1) {
    return UsageError(
        absl::StrCat("needs one job file, got ", positional.size(), " (kvp launch --help)"));
  }
  const std::string backend = absl::GetFlag(FLAGS_backend);
  const std::string part = absl::GetFlag(FLAGS_stages);
  if (backend != "local" && backend != "slurm" && backend != "srun") {
    return UsageError(
        absl::StrCat("flag --backend: value \"", backend, "\": it is none of local, slurm, srun"));
  }
  if (part != "" && part != "collect" && part != "train" && part != "evaluate") {
    return UsageError(absl::StrCat("flag --stages: value \"", part,
                                   "\": it is none of collect, train, evaluate"));
  }
  if (absl::GetFlag(FLAGS_export_only) && backend != "slurm") {
    return UsageError("flag --export-only needs --backend=slurm");
  }

  JobOptions job_options;
  job_options.overrides = *overrides;
  job_options.output_dir = absl::GetFlag(FLAGS_output);
  const absl::StatusOr<Job> job = JobOfCommandLine(positional[0], job_options);
  if (absl::IsFailedPrecondition(job.status())) return ExitStatus(job.status());
  if (!job.ok()) return UsageError(job.status().message());
  const absl::StatusOr<ModelGeometry> geometry = ReadModelGeometry(job->model().path());
  if (!geometry.ok()) return ExitStatus(geometry.status());
  PlanOptions plan_options;
  plan_options.tools_dir = tools_dir;
  plan_options.run_as_root = geteuid() == 0;
  absl::StatusOr<Plan> plan = MakePlan(*job, *geometry, plan_options);
  if (!plan.ok()) {
    return UsageError(absl::StrCat(positional[0], ": ", plan.status().message()));
  }
  const absl::StatusOr<Estimate> estimate = EstimateJob(*job, *geometry, *plan);
  if (!estimate.ok()) return ExitStatus(estimate.status());
  if (absl::GetFlag(FLAGS_dry_run)) {
    std::cout << PlanText(*plan, *geometry) << EstimateText(*estimate);
  }
  // Other machines' disks aren't known.
  if (backend == "local") {
    const absl::Status fits = CheckDiskSpace(*job, *estimate);
    if (!fits.ok()) return UsageError(absl::StrCat(positional[0], ": ", fits.message()));
  }
  if (absl::GetFlag(FLAGS_dry_run)) return 0;

  if (backend == "slurm") return ExitStatus(RunOnSlurm(*job, tools_dir + "/launcher/kvp"));
  const Outcome outcome = RunJob(*job, positional[0], *std::move(plan));
  if (!outcome.status.ok()) {
    const int status = ExitStatus(outcome.status);
    return outcome.stop_signal == 0 ? status : 128 + outcome.stop_signal;
  }
  if (job->has_evaluation()) std::cout << ReadFile(SummaryPath(*job)).value_or("") << "\n";
  if (job->has_trainers()) std::cout << "agents   " << AgentsPath(*job) << "\n";
  if (job->has_evaluation()) {
    std::cout << "results  " << ResultsPath(*job) << "\nreport   " << ReportPath(*job) << "\n";
  }
  std::cout << "manifest " << ManifestPath(job->output_dir()) << std::endl;
  return 0;
}

}  // namespace kvp

#include "launcher/launch_main.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <optional>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "launcher/guard.h"
#include "launcher/job.h"
#include "launcher/launch.h"
#include "launcher/local_backend.h"
#include "launcher/manifest.h"
#include "launcher/model_geometry.h"
#include "launcher/plan.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/status_macros.h"

ABSL_FLAG(std::string, set, "",
          "FIELD=VALUE: overrides a field of the job, as in trainers.steps=500, "
          "datasets[0].generated.count=96 or evaluation.budgets=0.5,0.25; an empty VALUE removes a "
          "field or section. May be given several times.");
ABSL_FLAG(std::string, output, "", "Output folder, in place of the job's output_dir.");
ABSL_FLAG(bool, dry_run, false,
          "Print the plan (stages, processes, command lines) and do nothing.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(launch: runs a job on this machine: shards, collectors, trainers, evaluation.

  kvp launch JOB.textproto [--set FIELD=VALUE]... [--output DIR] [--dry-run]

Everything that the run makes is in its output folder: agents.safetensors, results.json, report.html (each where the job
has its stage), manifest.json, the traces in shards/ and each process's log in logs/. Run again in the same folder, it goes
on with the traces that are there.
Ctrl-C stops everything cleanly.

Exit status: 0 done, 1 failed, 2 wrong usage or job file, 128+N stopped by signal N.

Examples:
  kvp launch launcher/jobs/quickstart.textproto
  kvp launch job.textproto --set trainers.steps=500 --set evaluation.policies=kvp,key_diff --output out/short
  kvp launch job.textproto --dry-run)";

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

// Held until the process ends: one launch at a time in an output folder.
absl::Status LockFolder(const std::string& folder) {
  const std::string path = folder + "/logs/launch.lock";
  const int lock = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock < 0) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  if (flock(lock, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  close(lock);
  return absl::FailedPreconditionError(
      absl::StrCat(folder, ": another launch is running in this output folder"));
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

Outcome RunJob(const Job& job, const std::string& job_file, Plan plan) {
  const auto prepare = [&]() -> absl::StatusOr<Manifest> {
    RETURN_IF_ERROR(MakeDirectories(job.output_dir() + "/logs"));
    RETURN_IF_ERROR(LockFolder(job.output_dir()));
    ASSIGN_OR_RETURN(const std::optional<Job> previous, JobOfManifest(ManifestPath(job)));
    if (previous.has_value()) RETURN_IF_ERROR(CanContinue(*previous, job));
    Manifest manifest;
    manifest.job_file = job_file;
    manifest.job = job;
    manifest.begin = absl::Now();
    ASSIGN_OR_RETURN(manifest.programs, Programs(plan));
    return manifest;
  };
  if (absl::Status status = StartGuard(); !status.ok()) return {status};
  absl::StatusOr<Manifest> manifest = prepare();
  if (!manifest.ok()) return {manifest.status()};
  absl::StatusOr<std::unique_ptr<LocalBackend>> backend = LocalBackend::Create();
  if (!backend.ok()) return {backend.status()};
  LaunchOptions options;
  options.retries = job.retries();
  options.shard_start_timeout = absl::Seconds(job.shards().start_timeout_s());
  options.terminal = isatty(fileno(options.out)) == 1;
  Launch launch(std::move(plan), *std::move(manifest), ManifestPath(job), backend->get(), options);
  absl::Status status = launch.Run();
  return {std::move(status), launch.stop_signal()};
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

  JobOptions job_options;
  job_options.overrides = *overrides;
  job_options.output_dir = absl::GetFlag(FLAGS_output);
  const absl::StatusOr<Job> job = LoadJob(positional[0], job_options);
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
  if (absl::GetFlag(FLAGS_dry_run)) {
    std::cout << PlanText(*plan, *geometry);
    return 0;
  }

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
  std::cout << "manifest " << ManifestPath(*job) << std::endl;
  return 0;
}

}  // namespace kvp

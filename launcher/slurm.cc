#include "launcher/slurm.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/text_format.h"
#include "launcher/command_output.h"
#include "launcher/process.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// A line is split at spaces, and '%' begins a pattern.
absl::Status CheckDirective(const std::string& option) {
  for (const char c : option) {
    if (absl::ascii_isgraph(c) && !absl::StrContains("'\"\\`$", absl::string_view(&c, 1))) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "resources: \"", option, "\" can't stand in an #SBATCH line: it has blanks or quotes"));
  }
  return absl::OkStatus();
}

std::string JobPath(const std::string& output_dir) {
  return SlurmFolder(output_dir) + "/job.textproto";
}

absl::StatusOr<BatchScript> Script(const Job& job, const std::string& part, int nodes,
                                   const std::string& kvp_path) {
  const Job::Resources& resources = job.resources();
  if (absl::StrContains(job.output_dir(), '%')) {
    return absl::InvalidArgumentError(
        absl::StrCat("output_dir: \"", job.output_dir(), "\" has a '%', a pattern of Slurm's"));
  }
  std::vector<std::string> options = {
      absl::StrCat("--job-name=", job.name(), "-", part),
      absl::StrCat("--nodes=", nodes),
      "--ntasks-per-node=1",
      absl::StrCat("--output=", job.output_dir(), "/logs/slurm-", part, ".log"),
      "--open-mode=append",
      "--requeue"};
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) options.push_back(absl::StrCat("--", name, "=", value));
  };
  add("partition", resources.partition());
  add("account", resources.account());
  add("time", resources.time_limit());
  if (resources.has_cpus_per_node()) {
    add("cpus-per-task", absl::StrCat(resources.cpus_per_node()));
  }
  if (resources.has_gpus_per_node()) {
    add("gpus-per-node", absl::StrCat(resources.gpus_per_node()));
  }
  options.insert(options.end(), resources.sbatch_options().begin(),
                 resources.sbatch_options().end());
  std::string text = "#!/bin/bash\n";
  for (const std::string& option : options) {
    RETURN_IF_ERROR(CheckDirective(option));
    absl::StrAppend(&text, "#SBATCH ", option, "\n");
  }
  // SIGTERM, from scancel or before the time limit, reaches the launcher, which drains.
  absl::StrAppend(
      &text, "#SBATCH --signal=B:TERM@60\n\n",
      "# Shards and collectors are steps of this allocation (srun), trainers run under mpirun.\n",
      "exec ",
      ShellLine({kvp_path, "launch", JobPath(job.output_dir()), "--backend=srun", "--resume",
                 absl::StrCat("--stages=", part)}),
      "\n");
  return BatchScript{part, std::move(text)};
}

}  // namespace

std::string SlurmFolder(const std::string& output_dir) { return output_dir + "/slurm"; }

absl::StatusOr<std::vector<BatchScript>> SlurmScripts(const Job& job, const std::string& kvp_path) {
  const int nodes = job.resources().nodes();
  std::vector<BatchScript> scripts;
  const auto add = [&](const char* part, int part_nodes) -> absl::Status {
    ASSIGN_OR_RETURN(BatchScript script, Script(job, part, part_nodes, kvp_path));
    scripts.push_back(std::move(script));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(add("collect", nodes));
  if (job.has_trainers()) RETURN_IF_ERROR(add("train", nodes));
  if (job.has_evaluation()) RETURN_IF_ERROR(add("evaluate", 1));
  return scripts;
}

absl::StatusOr<std::vector<std::string>> WriteSlurmScripts(const Job& job,
                                                           const std::string& kvp_path) {
  ASSIGN_OR_RETURN(const std::vector<BatchScript> scripts, SlurmScripts(job, kvp_path));
  const std::string folder = SlurmFolder(job.output_dir());
  RETURN_IF_ERROR(MakeDirectories(folder));
  // Slurm writes to it before anything else runs.
  RETURN_IF_ERROR(MakeDirectories(job.output_dir() + "/logs"));
  std::string text;
  google::protobuf::TextFormat::PrintToString(job, &text);
  RETURN_IF_ERROR(WriteFileAtomically(JobPath(job.output_dir()), {text}));
  std::vector<std::string> paths;
  for (const BatchScript& script : scripts) {
    paths.push_back(absl::StrCat(folder, "/", script.part, ".sbatch"));
    RETURN_IF_ERROR(WriteFileAtomically(paths.back(), {script.text}));
  }
  return paths;
}

absl::StatusOr<std::vector<std::string>> SubmitScripts(const std::string& output_dir,
                                                       const std::vector<std::string>& paths) {
  std::vector<std::string> ids;
  for (const std::string& path : paths) {
    std::vector<std::string> sbatch = {"sbatch", "--parsable"};
    if (!ids.empty()) {
      sbatch.insert(sbatch.end(), {absl::StrCat("--dependency=afterok:", ids.back()),
                                   "--kill-on-invalid-dep=yes"});
    }
    sbatch.push_back(path);
    ASSIGN_OR_RETURN(const std::string output, CommandOutput(sbatch));
    // "ID" or "ID;CLUSTER".
    ids.push_back(std::string(absl::StripAsciiWhitespace(output.substr(0, output.find(';')))));
    // After each, so that none is forgotten where the next can't be submitted.
    RETURN_IF_ERROR(
        WriteFileAtomically(SlurmFolder(output_dir) + "/jobs", {absl::StrJoin(ids, "\n"), "\n"}));
  }
  return ids;
}

std::vector<std::string> SubmittedJobs(const std::string& output_dir) {
  const absl::StatusOr<std::string> text = ReadFile(SlurmFolder(output_dir) + "/jobs");
  if (!text.ok()) return {};
  return absl::StrSplit(*text, '\n', absl::SkipWhitespace());
}

}  // namespace kvp

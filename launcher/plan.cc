#include "launcher/plan.h"

#include <charconv>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

std::string LogPath(const Job& job, const std::string& process) {
  return absl::StrCat(job.output_dir(), "/logs/", process, ".log");
}

std::map<std::string, std::string> ThreadEnvironment(int threads) {
  return {{"OMP_NUM_THREADS", absl::StrCat(threads)},
          {"OPENBLAS_NUM_THREADS", absl::StrCat(threads)},
          // Processes share the machine: threads that wait must not keep a core busy.
          {"OMP_WAIT_POLICY", "passive"}};
}

ProcessSpec NewProcess(const Job& job, const PlanOptions& options, const std::string& name,
                       const std::string& tool, int threads) {
  ProcessSpec process;
  process.name = name;
  process.argv = {options.tools_dir + "/" + tool};
  process.env = ThreadEnvironment(threads);
  process.log_path = LogPath(job, name);
  return process;
}

// The shortest decimal that reads back as the same number.
std::string Shortest(double value) {
  char buffer[32];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr);
}

template <typename Value>
void AddFlag(const std::string& name, const Value& value, std::vector<std::string>* argv) {
  argv->push_back(absl::StrCat("--", name, "=", value));
}

void AddFlags(const google::protobuf::RepeatedPtrField<std::string>& flags,
              std::vector<std::string>* argv) {
  argv->insert(argv->end(), flags.begin(), flags.end());
}

// The flag that takes one device, or the one that takes several.
std::string DeviceFlag(const std::string& devices) {
  return absl::StrContains(devices, ',') ? "devices" : "device";
}

void AddGenerated(const Job::Generated& generated, std::vector<std::string>* argv) {
  AddFlag("generate", generated.task(), argv);
  if (generated.has_count()) AddFlag("count", generated.count(), argv);
  AddFlag("seed", generated.seed(), argv);
  if (generated.has_text_file()) AddFlag("text", generated.text_file(), argv);
  if (generated.has_data_file()) AddFlag("data", generated.data_file(), argv);
  if (!generated.qa_files().empty()) {
    AddFlag("qa", absl::StrJoin(generated.qa_files(), ","), argv);
  }
  if (!generated.ruler_tasks().empty()) {
    AddFlag("tasks", absl::StrJoin(generated.ruler_tasks(), ","), argv);
  }
  if (generated.has_context_tokens()) {
    AddFlag("context-tokens", generated.context_tokens(), argv);
  }
  if (generated.has_needles()) AddFlag("needles", generated.needles(), argv);
  if (generated.has_questions()) AddFlag("questions", generated.questions(), argv);
}

Stage CollectStage(const Job& job, const Job::Dataset& dataset, const PlanOptions& options) {
  Stage stage;
  stage.name = "collect " + dataset.name();
  const int workers = job.collectors().count();
  for (int worker = 0; worker < workers; ++worker) {
    const std::string name = absl::StrCat("collector-", dataset.name(), "-", worker);
    ProcessSpec process =
        NewProcess(job, options, name, "collector/collect", job.collectors().threads());
    std::vector<std::string>* argv = &process.argv;
    AddFlag("model", job.model().path(), argv);
    if (dataset.has_generated()) {
      AddGenerated(dataset.generated(), argv);
    } else {
      AddFlag("prompts", dataset.prompts_file(), argv);
    }
    AddFlag("shards", kShardAddresses, argv);
    AddFlag("split", dataset.split(), argv);
    AddFlag("cuts", dataset.cuts(), argv);
    AddFlag("cut-seed", dataset.cut_seed(), argv);
    AddFlag("max-new-tokens", dataset.max_new_tokens(), argv);
    AddFlag("worker-index", worker, argv);
    AddFlag("worker-count", workers, argv);
    AddFlag("threads", job.collectors().threads(), argv);
    AddFlag(DeviceFlag(job.collectors().device()), job.collectors().device(), argv);
    AddFlag("dtype", job.model().dtype(), argv);
    AddFlag("json", absl::StrCat(job.output_dir(), "/logs/", name, ".json"), argv);
    AddFlags(job.collectors().flags(), argv);
    stage.processes.push_back(std::move(process));
  }
  return stage;
}

Stage TrainStage(const Job& job, const PlanOptions& options) {
  const Job::Trainers& trainers = job.trainers();
  ProcessSpec process = NewProcess(job, options, "trainer-0", "trainer/train", trainers.threads());
  if (trainers.ranks() > 1) {
    std::vector<std::string> mpirun = {"mpirun"};
    if (options.run_as_root) mpirun.push_back("--allow-run-as-root");
    mpirun.insert(mpirun.end(),
                  {"--oversubscribe", "--bind-to", "none", "-np", absl::StrCat(trainers.ranks())});
    process.argv.insert(process.argv.begin(), mpirun.begin(), mpirun.end());
    // Reading another rank's memory is forbidden in most containers; Open MPI's other ways do
    // without.
    process.env["OMPI_MCA_btl_vader_single_copy_mechanism"] = "none";
    // mpirun kills its ranks so many seconds after it was asked to stop: time to write what there
    // is.
    process.env["OMPI_MCA_odls_base_sigkill_timeout"] = "10";
  }
  std::vector<std::string>* argv = &process.argv;
  AddFlag("shards", kShardAddresses, argv);
  AddFlag("output", AgentsPath(job), argv);
  AddFlag("recipe", trainers.recipe(), argv);
  AddFlag("objective", trainers.objective(), argv);
  AddFlag("steps", trainers.steps(), argv);
  AddFlag("batch", trainers.batch(), argv);
  AddFlag("learning-rate", Shortest(trainers.learning_rate()), argv);
  AddFlag("width", trainers.width(), argv);
  AddFlag("seed", trainers.seed(), argv);
  AddFlag("eval-every", trainers.eval_every(), argv);
  AddFlag("threads", trainers.threads(), argv);
  AddFlag("json", job.output_dir() + "/training.json", argv);
  AddFlag("metrics", job.output_dir() + "/training_metrics.jsonl", argv);
  const std::string checkpoints = job.output_dir() + "/checkpoints";
  AddFlag("checkpoint-dir", checkpoints, argv);
  AddFlag("resume", "true", argv);
  AddFlags(trainers.flags(), argv);
  return {"train", {std::move(process)}, {AgentsPath(job)}, {checkpoints}};
}

Stage EvaluateStage(const Job& job, const PlanOptions& options) {
  const Job::Evaluation& evaluation = job.evaluation();
  ProcessSpec process =
      NewProcess(job, options, "evaluator-0", "eval/evaluate", evaluation.threads());
  std::vector<std::string>* argv = &process.argv;
  AddFlag("model", job.model().path(), argv);
  AddFlag(DeviceFlag(job.model().device()), job.model().device(), argv);
  AddFlag("dtype", job.model().dtype(), argv);
  AddFlag("shards", kShardAddresses, argv);
  if (job.has_trainers() || !evaluation.agents_file().empty()) {
    AddFlag("agents", job.has_trainers() ? AgentsPath(job) : evaluation.agents_file(), argv);
  }
  AddFlag("text", evaluation.text_file(), argv);
  AddFlag("prompts-count", evaluation.prompts(), argv);
  AddFlag("seed", evaluation.seed(), argv);
  AddFlag("policies", absl::StrJoin(evaluation.policies(), ","), argv);
  AddFlag("budgets",
          absl::StrJoin(evaluation.budgets(), ",",
                        [](std::string* out, double budget) { *out += Shortest(budget); }),
          argv);
  AddFlag("threads", evaluation.threads(), argv);
  AddFlag("json", ResultsPath(job), argv);
  AddFlag("report", ReportPath(job), argv);
  if (job.has_trainers()) AddFlag("training-json", job.output_dir() + "/training.json", argv);
  AddFlags(evaluation.flags(), argv);
  process.output_path = SummaryPath(job);
  return {"evaluate", {std::move(process)}, {ResultsPath(job), ReportPath(job)}, {}};
}

void AppendProcess(const ProcessSpec& process, std::string* text) {
  std::string environment;
  for (const auto& [name, value] : process.env) {
    absl::StrAppend(&environment, ShellLine({absl::StrCat(name, "=", value)}), " ");
  }
  absl::StrAppend(text, "    ", process.name, "  (log: ", process.log_path, ")\n      ",
                  environment, ShellLine(process.argv), "\n");
}

}  // namespace

std::string AgentsPath(const Job& job) { return job.output_dir() + "/agents.safetensors"; }
std::string ResultsPath(const Job& job) { return job.output_dir() + "/results.json"; }
std::string ReportPath(const Job& job) { return job.output_dir() + "/report.html"; }
std::string SummaryPath(const Job& job) { return job.output_dir() + "/summary.txt"; }

absl::StatusOr<Plan> MakePlan(const Job& job, const ModelGeometry& geometry,
                              const PlanOptions& options) {
  const int shards = job.shards().count();
  if (shards > geometry.heads()) {
    return absl::InvalidArgumentError(absl::StrCat("shards.count: ", shards, " is more than the ",
                                                   geometry.heads(), " KV heads of ",
                                                   job.model().path()));
  }
  Plan plan;
  plan.output_dir = job.output_dir();
  ASSIGN_OR_RETURN(plan.shard_heads, SplitHeads(geometry.heads(), shards));
  plan.shards.name = "shards";
  for (int shard = 0; shard < shards; ++shard) {
    ProcessSpec process = NewProcess(job, options, absl::StrCat("shard-", shard), "storage/serve",
                                     /*threads=*/1);
    process.port_file = absl::StrCat(job.output_dir(), "/logs/shard-", shard, ".port");
    AddFlag("dir", absl::StrCat(job.shards().dir(), "/", shard), &process.argv);
    AddFlag("listen", process.address + ":0", &process.argv);
    AddFlag("shard-index", shard, &process.argv);
    AddFlag("shard-count", shards, &process.argv);
    AddFlag("port-file", process.port_file, &process.argv);
    AddFlags(job.shards().flags(), &process.argv);
    plan.shards.processes.push_back(std::move(process));
  }
  for (const Job::Dataset& dataset : job.datasets()) {
    plan.stages.push_back(CollectStage(job, dataset, options));
  }
  if (job.has_trainers()) plan.stages.push_back(TrainStage(job, options));
  if (job.has_evaluation()) plan.stages.push_back(EvaluateStage(job, options));
  return plan;
}

std::string PlanText(const Plan& plan, const ModelGeometry& geometry) {
  std::string text = absl::StrCat("output: ", plan.output_dir, "\n1. shards\n");
  for (size_t i = 0; i < plan.shards.processes.size(); ++i) {
    const HeadRange& range = plan.shard_heads[i];
    const HeadId first = HeadId::FromIndex(range.begin, geometry.kv_heads);
    const HeadId last = HeadId::FromIndex(range.end - 1, geometry.kv_heads);
    absl::StrAppend(&text, "    heads [", range.begin, ", ", range.end, "): layer ", first.layer,
                    " KV head ", first.kv_head, " to layer ", last.layer, " KV head ", last.kv_head,
                    "\n");
    AppendProcess(plan.shards.processes[i], &text);
  }
  int number = 2;
  for (const Stage& stage : plan.stages) {
    absl::StrAppend(&text, number++, ". ", stage.name, "\n");
    for (const ProcessSpec& process : stage.processes) AppendProcess(process, &text);
  }
  absl::StrAppend(&text, number, ". stop the shards\n(", kShardAddresses,
                  " stands for the shards' addresses, known once they serve)\n");
  return text;
}

}  // namespace kvp

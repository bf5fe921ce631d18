#include "launcher/job.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/util/message_differencer.h"
#include "launcher/job_text.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

namespace fs = std::filesystem;

std::string Absolute(const std::string& folder, const std::string& path) {
  return (fs::path(folder) / path).lexically_normal().string();
}

void Resolve(const std::string& folder, std::string* path) {
  if (!path->empty()) *path = Absolute(folder, *path);
}

// Names like these become names of files.
bool IsPlainName(absl::string_view name) {
  if (name.empty() || name[0] == '.' || name[0] == '-') return false;
  for (const char c : name) {
    if (!absl::ascii_isalnum(c) && c != '_' && c != '-' && c != '.') return false;
  }
  return true;
}

// "cpu", "cuda", "cuda:N", or several of them between commas.
bool AreDevices(absl::string_view devices) {
  for (absl::string_view device : absl::StrSplit(devices, ',')) {
    if (device == "cpu" || device == "cuda") continue;
    int index = 0;
    if (!absl::ConsumePrefix(&device, "cuda:") || !absl::SimpleAtoi(device, &index) || index < 0) {
      return false;
    }
  }
  return true;
}

std::string Quoted(absl::string_view value) { return absl::StrCat("\"", value, "\""); }

// What Generated.task may be where Generated.data_file is a dataset.
const std::vector<std::string>& DataFileTasks() {
  static const auto& names = *new std::vector<std::string>(
      {"oasst2", "boolq", "arc_challenge", "passage_retrieval", "gov_report"});
  return names;
}

// Collects the first error; what is checked after it is ignored.
class Checker {
 public:
  explicit Checker(std::string file) : file_(std::move(file)) {}

  void Require(bool condition, absl::string_view field, absl::string_view value,
               absl::string_view expectation) {
    if (condition || !status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat(
        file_, ": ", field, ": ", value.empty() ? "" : absl::StrCat(value, " "), expectation));
  }
  void AtLeast(int64_t minimum, absl::string_view field, int64_t value) {
    Require(value >= minimum, field, absl::StrCat(value), absl::StrCat("is less than ", minimum));
  }
  void OneOf(const std::vector<std::string>& choices, absl::string_view field,
             const std::string& value) {
    bool found = false;
    for (const std::string& choice : choices) found |= choice == value;
    Require(found, field, Quoted(value), absl::StrCat("is none of ", absl::StrJoin(choices, ", ")));
  }
  const absl::Status& status() const { return status_; }

 private:
  const std::string file_;
  absl::Status status_;
};

// Fields that leave the tool's default where they aren't set.
void CheckIfSet(bool set, const std::string& field, int64_t value, Checker* check) {
  if (set) check->AtLeast(1, field, value);
}

template <typename Section>
void CheckFlags(const std::string& section, const Section& message, Checker* check) {
  for (int i = 0; i < message.flags_size(); ++i) {
    check->Require(absl::StartsWith(message.flags(i), "--"),
                   absl::StrFormat("%s.flags[%d]", section, i), Quoted(message.flags(i)),
                   "doesn't begin with \"--\"");
  }
}

void CheckGenerated(const Job::Generated& generated, const std::string& field, Checker* check) {
  std::vector<std::string> tasks = {"retrieval", "text", "ruler"};
  tasks.insert(tasks.end(), DataFileTasks().begin(), DataFileTasks().end());
  const std::string& task = generated.task();
  check->OneOf(tasks, field + ".task", task);
  const bool reads_data = std::count(DataFileTasks().begin(), DataFileTasks().end(), task) > 0;
  check->Require(!reads_data || !generated.data_file().empty(), field + ".data_file", "",
                 "is missing");
  check->Require(reads_data || generated.data_file().empty(), field + ".data_file",
                 Quoted(generated.data_file()),
                 absl::StrCat("is there although task is ", Quoted(task)));
  if (!reads_data || generated.has_count()) {
    check->AtLeast(1, field + ".count", generated.count());
  }
  check->AtLeast(0, field + ".seed", generated.seed());
  check->Require(reads_data || task == "ruler" || !generated.text_file().empty(),
                 field + ".text_file", "", "is missing");
  // What the collector would refuse.
  const auto only_if = [&](bool condition, bool set, const std::string& name) {
    check->Require(condition || !set, field + name, "",
                   absl::StrCat("is there although task is ", Quoted(task)));
  };
  only_if(task == "ruler", !generated.ruler_tasks().empty(), ".ruler_tasks");
  only_if(task == "ruler", !generated.qa_files().empty(), ".qa_files");
  only_if(!reads_data, generated.has_text_file(), ".text_file");
  only_if(task == "retrieval", generated.has_needles(), ".needles");
  only_if(task == "retrieval", generated.has_questions(), ".questions");
  CheckIfSet(generated.has_context_tokens(), field + ".context_tokens", generated.context_tokens(),
             check);
  CheckIfSet(generated.has_needles(), field + ".needles", generated.needles(), check);
  CheckIfSet(generated.has_questions(), field + ".questions", generated.questions(), check);
}

void CheckDataset(const Job::Dataset& dataset, const std::string& field, Checker* check) {
  check->OneOf({"train", "held_out"}, field + ".split", dataset.split());
  check->Require(IsPlainName(dataset.name()), field + ".name", Quoted(dataset.name()),
                 "isn't made of letters, digits, '_', '-' and '.'");
  check->Require(dataset.source_case() != Job::Dataset::SOURCE_NOT_SET, field, "",
                 "has neither prompts_file nor generated");
  check->AtLeast(1, field + ".cuts", dataset.cuts());
  check->AtLeast(1, field + ".max_new_tokens", dataset.max_new_tokens());
  if (dataset.has_generated()) {
    CheckGenerated(dataset.generated(), field + ".generated", check);
  } else {
    check->Require(!dataset.prompts_file().empty(), field + ".prompts_file", "", "is empty");
  }
}

void CheckEvaluation(const Job& job, Checker* check) {
  const Job::Evaluation& evaluation = job.evaluation();
  std::set<std::string> policies;
  for (int i = 0; i < evaluation.policies_size(); ++i) {
    const std::string field = absl::StrFormat("evaluation.policies[%d]", i);
    check->OneOf(EvaluationPolicies(), field,
                 std::string(absl::StripPrefix(evaluation.policies(i), "ada:")));
    check->Require(policies.insert(evaluation.policies(i)).second, field,
                   Quoted(evaluation.policies(i)), "is there twice");
  }
  std::set<double> budgets;
  for (int i = 0; i < evaluation.budgets_size(); ++i) {
    const double budget = evaluation.budgets(i);
    const std::string field = absl::StrFormat("evaluation.budgets[%d]", i);
    check->Require(budget > 0 && budget <= 1, field, absl::StrCat(budget), "isn't in (0, 1]");
    check->Require(budgets.insert(budget).second, field, absl::StrCat(budget), "is there twice");
  }
  check->AtLeast(1, "evaluation.prompts", evaluation.prompts());
  check->AtLeast(0, "evaluation.seed", evaluation.seed());
  check->AtLeast(1, "evaluation.threads", evaluation.threads());
  check->Require(!evaluation.text_file().empty(), "evaluation.text_file", "", "is missing");
  check->Require(job.has_trainers() || !evaluation.agents_file().empty() ||
                     (policies.count("kvp") == 0 && policies.count("ada:kvp") == 0),
                 "evaluation.policies", "\"kvp\"",
                 "needs trainers in the job, or evaluation.agents_file");
  check->Require(!job.has_trainers() || evaluation.agents_file().empty(), "evaluation.agents_file",
                 Quoted(evaluation.agents_file()), "is there although the job has trainers");
}

// The files that the job reads are there.
absl::Status CheckInputs(const Job& job, const std::string& file) {
  const auto exists = [&](const std::string& field, const std::string& path, bool folder = false) {
    std::error_code error;
    if (folder ? fs::is_directory(path, error) : fs::is_regular_file(path, error)) {
      return absl::OkStatus();
    }
    return absl::NotFoundError(
        absl::StrCat(file, ": ", field, ": ", Quoted(path), " is no ", folder ? "folder" : "file"));
  };
  RETURN_IF_ERROR(exists("model.path", job.model().path(), /*folder=*/true));
  for (int i = 0; i < job.datasets_size(); ++i) {
    const Job::Dataset& dataset = job.datasets(i);
    const std::string field = absl::StrFormat("datasets[%d].", i);
    if (dataset.has_generated()) {
      const Job::Generated& generated = dataset.generated();
      if (generated.has_text_file()) {
        RETURN_IF_ERROR(exists(field + "generated.text_file", generated.text_file()));
      }
      if (generated.has_data_file()) {
        RETURN_IF_ERROR(exists(field + "generated.data_file", generated.data_file()));
      }
      for (const std::string& qa_file : generated.qa_files()) {
        RETURN_IF_ERROR(exists(field + "generated.qa_files", qa_file));
      }
    } else {
      RETURN_IF_ERROR(exists(field + "prompts_file", dataset.prompts_file()));
    }
  }
  if (job.has_evaluation()) {
    RETURN_IF_ERROR(exists("evaluation.text_file", job.evaluation().text_file()));
    if (!job.evaluation().agents_file().empty()) {
      RETURN_IF_ERROR(exists("evaluation.agents_file", job.evaluation().agents_file()));
    }
  }
  return absl::OkStatus();
}

// What the paper's recipe has in the place of the fields' defaults.
void FillPaperRecipe(Job::Trainers* trainers) {
  if (!trainers->has_objective()) trainers->set_objective("paper");
  if (!trainers->has_steps()) trainers->set_steps(4000);
  if (!trainers->has_batch()) trainers->set_batch(128);
  if (!trainers->has_learning_rate()) trainers->set_learning_rate(5e-5);
  if (!trainers->has_width()) trainers->set_width(256);
}

absl::StatusOr<std::string> CurrentFolder() {
  std::error_code error;
  const std::string current = fs::current_path(error).string();
  if (error) return absl::UnavailableError("current folder: " + error.message());
  return current;
}

// From a parsed job to an effective one.
absl::StatusOr<Job> CompleteJob(Job job, const std::string& current, const std::string& name,
                                const JobOptions& options) {
  for (const std::string& assignment : options.overrides) {
    RETURN_IF_ERROR(ApplyOverride(assignment, &job));
  }
  ResolveInputPaths(current, &job);
  if (!options.output_dir.empty()) job.set_output_dir(options.output_dir);
  FillDefaults(current, &job);
  RETURN_IF_ERROR(ValidateJob(job, name));
  RETURN_IF_ERROR(CheckInputs(job, name));
  return job;
}

}  // namespace

const std::vector<std::string>& EvaluationPolicies() {
  static const auto& names = *new std::vector<std::string>(
      {"kvp", "oracle", "random", "streaming_llm", "k_norm", "key_diff", "lag_kv", "cur",
       "leverage", "h2o", "tova", "snap_kv", "pyramid_kv", "expected_attention", "kv_zip"});
  return names;
}

const std::vector<std::string>& DefaultPolicies() {
  static const auto& names = *new std::vector<std::string>(
      {"kvp", "oracle", "random", "streaming_llm", "k_norm", "key_diff"});
  return names;
}

void ResolveInputPaths(const std::string& folder, Job* job) {
  if (job->model().has_path()) Resolve(folder, job->mutable_model()->mutable_path());
  for (Job::Dataset& dataset : *job->mutable_datasets()) {
    if (dataset.has_prompts_file()) Resolve(folder, dataset.mutable_prompts_file());
    if (!dataset.has_generated()) continue;
    Job::Generated* generated = dataset.mutable_generated();
    if (generated->has_text_file()) Resolve(folder, generated->mutable_text_file());
    if (generated->has_data_file()) Resolve(folder, generated->mutable_data_file());
    for (std::string& qa_file : *generated->mutable_qa_files()) Resolve(folder, &qa_file);
  }
  if (job->evaluation().has_text_file()) {
    Resolve(folder, job->mutable_evaluation()->mutable_text_file());
  }
  if (job->evaluation().has_agents_file()) {
    Resolve(folder, job->mutable_evaluation()->mutable_agents_file());
  }
}

void FillDefaults(const std::string& folder, Job* job) {
  job->mutable_shards();
  job->mutable_collectors();
  job->mutable_resources();
  if (job->trainers().recipe() == "paper") FillPaperRecipe(job->mutable_trainers());
  SetDefaultValues(job);
  if (job->output_dir().empty()) job->set_output_dir("out/" + job->name());
  job->set_output_dir(Absolute(folder, job->output_dir()));
  job->mutable_shards()->set_dir(job->shards().dir().empty()
                                     ? Absolute(job->output_dir(), "shards")
                                     : Absolute(folder, job->shards().dir()));
  if (job->collectors().device().empty()) {
    job->mutable_collectors()->set_device(job->model().device());
  }
  for (Job::Dataset& dataset : *job->mutable_datasets()) {
    if (dataset.name().empty()) dataset.set_name(dataset.split());
  }
  if (job->has_evaluation()) {
    Job::Evaluation* evaluation = job->mutable_evaluation();
    if (evaluation->policies().empty()) {
      for (const std::string& name : DefaultPolicies()) {
        if (name == "kvp" && !job->has_trainers() && evaluation->agents_file().empty()) continue;
        evaluation->add_policies(name);
      }
    }
    if (evaluation->budgets().empty()) {
      for (const double budget : {0.5, 0.25, 0.125, 0.0625}) evaluation->add_budgets(budget);
    }
  }
}

absl::Status ValidateJob(const Job& job, const std::string& file) {
  Checker check(file);
  check.Require(IsPlainName(job.name()), "name", Quoted(job.name()),
                "isn't made of letters, digits, '_', '-' and '.'");
  check.Require(!job.model().path().empty(), "model.path", "", "is missing");
  check.Require(AreDevices(job.model().device()), "model.device", Quoted(job.model().device()),
                "is none of cpu, cuda, cuda:N, nor several of them between commas");
  check.OneOf({"float32", "bfloat16", "float16"}, "model.dtype", job.model().dtype());
  check.AtLeast(1, "shards.count", job.shards().count());
  check.AtLeast(1, "shards.start_timeout_s", job.shards().start_timeout_s());
  check.AtLeast(1, "collectors.count", job.collectors().count());
  check.AtLeast(1, "collectors.threads", job.collectors().threads());
  check.Require(AreDevices(job.collectors().device()), "collectors.device",
                Quoted(job.collectors().device()),
                "is none of cpu, cuda, cuda:N, nor several of them between commas");
  check.AtLeast(0, "retries", job.retries());
  check.AtLeast(1, "resources.nodes", job.resources().nodes());
  CheckIfSet(job.resources().has_cpus_per_node(), "resources.cpus_per_node",
             job.resources().cpus_per_node(), &check);
  CheckIfSet(job.resources().has_gpus_per_node(), "resources.gpus_per_node",
             job.resources().gpus_per_node(), &check);
  CheckFlags("shards", job.shards(), &check);
  CheckFlags("collectors", job.collectors(), &check);
  CheckFlags("trainers", job.trainers(), &check);
  CheckFlags("evaluation", job.evaluation(), &check);
  check.Require(!job.datasets().empty(), "datasets", "", "are missing");
  std::set<std::string> names, splits;
  for (int i = 0; i < job.datasets_size(); ++i) {
    const std::string field = absl::StrFormat("datasets[%d]", i);
    CheckDataset(job.datasets(i), field, &check);
    check.Require(names.insert(job.datasets(i).name()).second, field + ".name",
                  Quoted(job.datasets(i).name()), "is the name of another dataset");
    splits.insert(job.datasets(i).split());
  }
  if (job.has_trainers()) {
    const Job::Trainers& trainers = job.trainers();
    check.Require(splits.count("train") > 0, "trainers", "", "need a dataset with split \"train\"");
    check.AtLeast(1, "trainers.ranks", trainers.ranks());
    check.AtLeast(1, "trainers.threads", trainers.threads());
    check.OneOf({"kvp", "paper"}, "trainers.recipe", trainers.recipe());
    check.OneOf({"exact", "log_rank", "exact+log_rank", "rloo", "paper", "regression", "listwise"},
                "trainers.objective", trainers.objective());
    check.AtLeast(1, "trainers.steps", trainers.steps());
    check.AtLeast(1, "trainers.batch", trainers.batch());
    check.Require(trainers.learning_rate() > 0 &&
                      trainers.learning_rate() <= std::numeric_limits<double>::max(),
                  "trainers.learning_rate", absl::StrCat(trainers.learning_rate()),
                  "isn't a positive number");
    check.AtLeast(1, "trainers.width", trainers.width());
    check.AtLeast(0, "trainers.seed", trainers.seed());
    check.AtLeast(1, "trainers.eval_every", trainers.eval_every());
  }
  if (job.has_evaluation()) {
    check.Require(splits.count("held_out") > 0, "evaluation", "",
                  "needs a dataset with split \"held_out\"");
    CheckEvaluation(job, &check);
  }
  return check.status();
}

absl::StatusOr<Job> LoadJob(const std::string& path, const JobOptions& options) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(Job job, ParseJob(text, path));
  ASSIGN_OR_RETURN(const std::string current, CurrentFolder());
  ResolveInputPaths(fs::path(Absolute(current, path)).parent_path().string(), &job);
  return CompleteJob(std::move(job), current, path, options);
}

absl::StatusOr<Job> ReloadJob(Job job, const std::string& name, const JobOptions& options) {
  if (job.shards().dir() == Absolute(job.output_dir(), "shards")) {
    job.mutable_shards()->clear_dir();
  }
  ASSIGN_OR_RETURN(const std::string current, CurrentFolder());
  return CompleteJob(std::move(job), current, name, options);
}

absl::Status CanContinue(const Job& previous, const Job& job) {
  // What decides which traces are in the shards, and how they are split.
  const auto traces_of = [](const Job& from) {
    Job traces;
    traces.mutable_model()->set_path(from.model().path());
    traces.mutable_model()->set_dtype(from.model().dtype());
    traces.mutable_shards()->set_count(from.shards().count());
    traces.mutable_shards()->set_dir(from.shards().dir());
    *traces.mutable_datasets() = from.datasets();
    *traces.mutable_collectors()->mutable_flags() = from.collectors().flags();
    return traces;
  };
  Job before = traces_of(previous);
  Job after = traces_of(job);
  while (after.datasets_size() > before.datasets_size()) after.mutable_datasets()->RemoveLast();
  for (int i = 0; i < after.datasets_size(); ++i) {
    if (!after.datasets(i).has_generated() || !before.datasets(i).has_generated()) continue;
    Job::Generated* generated = after.mutable_datasets(i)->mutable_generated();
    const int32_t count = before.datasets(i).generated().count();
    if (generated->count() > count) generated->set_count(count);
  }
  std::string difference;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  if (differencer.Compare(before, after)) return absl::OkStatus();
  const std::vector<std::string> lines = absl::StrSplit(difference, '\n', absl::SkipEmpty());
  return absl::FailedPreconditionError(absl::StrCat(
      job.output_dir(), ": holds the traces of another job (", lines.empty() ? "" : lines[0],
      "): choose another folder with --output, or delete this one"));
}

}  // namespace kvp

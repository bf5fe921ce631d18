#include "launcher/job.h"

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/job_text.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

constexpr char kJob[] = R"(
  name: "small"
  model { path: "model" }
  datasets { split: "train" generated { task: "retrieval" count: 8 text_file: "train.txt" } }
  datasets { split: "held_out" prompts_file: "prompts.jsonl" }
  trainers { steps: 3 }
  evaluation { text_file: "held_out.txt" }
)";

Job FilledJob() {
  Job job = ParseJob(kJob, "job.textproto").value();
  ResolveInputPaths("/jobs", &job);
  FillDefaults("/current", &job);
  return job;
}

TEST(FillDefaultsTest, InputsAreRelativeToTheJobFileAndOutputsToTheCurrentFolder) {
  const Job job = FilledJob();
  EXPECT_EQ(job.model().path(), "/jobs/model");
  EXPECT_EQ(job.datasets(0).generated().text_file(), "/jobs/train.txt");
  EXPECT_EQ(job.datasets(1).prompts_file(), "/jobs/prompts.jsonl");
  EXPECT_EQ(job.evaluation().text_file(), "/jobs/held_out.txt");
  EXPECT_EQ(job.output_dir(), "/current/out/small");
  EXPECT_EQ(job.shards().dir(), "/current/out/small/shards");
}

TEST(FillDefaultsTest, ThePapersRecipeHasItsOwnDefaults) {
  ASSERT_OK_AND_ASSIGN(
      Job job, ParseJob("name: \"a\" trainers { recipe: \"paper\" steps: 77 }", "job.textproto"));
  FillDefaults("/current", &job);
  EXPECT_EQ(job.trainers().objective(), "paper");
  EXPECT_EQ(job.trainers().steps(), 77);
  EXPECT_EQ(job.trainers().batch(), 128);
  EXPECT_EQ(job.trainers().learning_rate(), 5e-5);
  EXPECT_EQ(job.trainers().width(), 256);
}

TEST(FillDefaultsTest, SectionsGetTheirDefaults) {
  const Job job = FilledJob();
  EXPECT_EQ(job.collectors().device(), "cpu");
  EXPECT_EQ(job.datasets(0).name(), "train");
  EXPECT_EQ(job.evaluation().policies_size(), DefaultPolicies().size());
  EXPECT_THAT(job.evaluation().budgets(), testing::ElementsAre(0.5, 0.25, 0.125, 0.0625));
  EXPECT_EQ(job.trainers().steps(), 3);
  EXPECT_OK(ValidateJob(job, "job.textproto"));
}

TEST(ValidateJobTest, DatasetsAreGeneratedFromTheirFilesRelativeToTheJobFile) {
  Job job = ParseJob(R"(
    name: "small"
    model { path: "model" }
    datasets { split: "train" generated { task: "ruler" count: 8 ruler_tasks: ["vt", "qa_1"]
                                          qa_files: "squad.json" } }
    datasets { split: "held_out" generated { task: "oasst2" data_file: "trees.jsonl.gz" } }
  )",
                     "job.textproto")
                .value();
  ResolveInputPaths("/jobs", &job);
  FillDefaults("/current", &job);
  EXPECT_OK(ValidateJob(job, "job.textproto"));
  EXPECT_EQ(job.datasets(0).generated().qa_files(0), "/jobs/squad.json");
  EXPECT_EQ(job.datasets(1).generated().data_file(), "/jobs/trees.jsonl.gz");
  job.mutable_datasets(0)->mutable_generated()->clear_count();
  EXPECT_THAT(ValidateJob(job, "job.textproto"),
              StatusIs(kInvalid, HasSubstr("datasets[0].generated.count: 0")));
}

TEST(ValidateJobTest, NamesFileFieldAndValue) {
  const auto message = [](const char* assignment) {
    Job job = ParseJob(kJob, "job.textproto").value();
    EXPECT_OK(ApplyOverride(assignment, &job));
    FillDefaults("/current", &job);
    const absl::Status status = ValidateJob(job, "job.textproto");
    EXPECT_THAT(status, StatusIs(kInvalid, StartsWith("job.textproto: "))) << assignment;
    return std::string(status.message());
  };
  EXPECT_THAT(message("datasets[0].split=dev"),
              AllOf(HasSubstr("datasets[0].split: \"dev\""), HasSubstr("held_out")));
  EXPECT_THAT(message("datasets[0].generated.task=poem"), HasSubstr("generated.task: \"poem\""));
  EXPECT_THAT(message("datasets[0].generated.count=0"), HasSubstr("count: 0 is less than 1"));
  EXPECT_THAT(message("datasets[0].generated.task=boolq"),
              HasSubstr("datasets[0].generated.data_file: is missing"));
  EXPECT_THAT(message("datasets[0].generated.data_file=boolq.jsonl"),
              AllOf(HasSubstr("generated.data_file: \"boolq.jsonl\""), HasSubstr("retrieval")));
  EXPECT_THAT(message("datasets[0].generated.ruler_tasks=vt"),
              AllOf(HasSubstr("generated.ruler_tasks"), HasSubstr("retrieval")));
  EXPECT_THAT(message("datasets[1].name=train"), HasSubstr("datasets[1].name: \"train\""));
  EXPECT_THAT(message("datasets[0].name=../x"), HasSubstr("datasets[0].name: \"../x\""));
  EXPECT_THAT(message("shards.count=0"), HasSubstr("shards.count: 0"));
  EXPECT_THAT(message("collectors.device=tpu"), HasSubstr("collectors.device: \"tpu\""));
  EXPECT_THAT(message("model.device=cuda:0,"), HasSubstr("model.device: \"cuda:0,\""));
  EXPECT_THAT(message("model.device=cuda:0,gpu"), HasSubstr("model.device: \"cuda:0,gpu\""));
  EXPECT_THAT(message("datasets[0].generated.qa_files=squad.json"),
              AllOf(HasSubstr("generated.qa_files"), HasSubstr("retrieval")));
  EXPECT_THAT(message("model.dtype=int8"), HasSubstr("model.dtype: \"int8\""));
  EXPECT_THAT(message("model.path="), HasSubstr("model.path: is missing"));
  EXPECT_THAT(message("trainers.objective=luck"), HasSubstr("trainers.objective: \"luck\""));
  EXPECT_THAT(message("trainers.recipe=luck"), HasSubstr("trainers.recipe: \"luck\""));
  EXPECT_THAT(message("trainers.learning_rate=-1"), HasSubstr("trainers.learning_rate: -1"));
  EXPECT_THAT(message("trainers.flags=steps"), HasSubstr("trainers.flags[0]: \"steps\""));
  EXPECT_THAT(message("evaluation.policies=kvp,lucky"), HasSubstr("policies[1]: \"lucky\""));
  EXPECT_THAT(message("evaluation.policies=kvp,kvp"), HasSubstr("is there twice"));
  EXPECT_THAT(message("evaluation.budgets=0.5,1.5"), HasSubstr("budgets[1]: 1.5"));
  EXPECT_THAT(message("name=a/b"), HasSubstr("name: \"a/b\""));
  EXPECT_THAT(message("datasets="), HasSubstr("datasets: are missing"));
}

TEST(ValidateJobTest, KvpNeedsAgents) {
  Job job = ParseJob(kJob, "job.textproto").value();
  job.clear_trainers();
  job.mutable_evaluation()->add_policies("kvp");
  FillDefaults("/current", &job);
  EXPECT_THAT(ValidateJob(job, "job.textproto"),
              StatusIs(kInvalid, HasSubstr("evaluation.policies: \"kvp\"")));
  job.mutable_evaluation()->set_agents_file("/agents.safetensors");
  EXPECT_OK(ValidateJob(job, "job.textproto"));
}

class LoadJobTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_OK(MakeDirectories(folder_ + "/model"));
    for (const char* name : {"train.txt", "held_out.txt", "prompts.jsonl"}) {
      ASSERT_OK(WriteFileAtomically(folder_ + "/" + name, {"x\n"}));
    }
    ASSERT_OK(WriteFileAtomically(folder_ + "/job.textproto", {kJob}));
  }
  std::string folder_;
};

TEST_F(LoadJobTest, OverridesComeAfterTheFileAndBeforeTheDefaults) {
  JobOptions options;
  options.overrides = {"trainers.steps=11", "name=other"};
  options.output_dir = "/elsewhere";
  ASSERT_OK_AND_ASSIGN(const Job job, LoadJob(folder_ + "/job.textproto", options));
  EXPECT_EQ(job.trainers().steps(), 11);
  EXPECT_EQ(job.name(), "other");
  EXPECT_EQ(job.output_dir(), "/elsewhere");
  EXPECT_EQ(job.model().path(), fs::path(folder_ + "/model").lexically_normal().string());
}

TEST_F(LoadJobTest, MissingInputIsNamedWithItsField) {
  fs::remove(folder_ + "/train.txt");
  EXPECT_THAT(
      LoadJob(folder_ + "/job.textproto"),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("datasets[0].generated.text_file"), HasSubstr("train.txt"))));
  EXPECT_THAT(LoadJob(folder_ + "/other.textproto"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("other.textproto")));
}

TEST(ShippedJobTest, QuickstartIsValid) {
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile("launcher/jobs/quickstart.textproto"));
  ASSERT_OK_AND_ASSIGN(Job job, ParseJob(text, "quickstart.textproto"));
  FillDefaults("/current", &job);
  EXPECT_OK(ValidateJob(job, "quickstart.textproto"));
}

TEST(CanContinueTest, MoreTracesAreWelcomeAndOthersAreNot) {
  const Job before = FilledJob();
  Job after = before;
  after.mutable_datasets(0)->mutable_generated()->set_count(80);
  after.mutable_trainers()->set_steps(9);
  *after.add_datasets() = before.datasets(1);
  EXPECT_OK(CanContinue(before, after));
  after = before;
  after.mutable_datasets(0)->mutable_generated()->set_seed(7);
  EXPECT_THAT(CanContinue(before, after),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("/current/out/small"),
                             HasSubstr("datasets[0].generated.seed: 1 -> 7"))));
  EXPECT_FALSE(CanContinue(after, before).ok());
}

}  // namespace
}  // namespace kvp

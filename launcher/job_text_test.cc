#include "launcher/job_text.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

TEST(ParseJobTest, ReadsEveryKindOfField) {
  ASSERT_OK_AND_ASSIGN(const Job job, ParseJob(R"(
      # a comment
      name: "a"
      model { path: "m" }
      datasets { split: "train" prompts_file: "p.jsonl" }
      datasets { split: "held_out" generated { task: "text" count: 3 } }
      trainers { learning_rate: 0.5 steps: 7 }
      evaluation { budgets: [0.5, 0.25] policies: "kvp" })",
                                               "a.textproto"));
  EXPECT_EQ(job.name(), "a");
  EXPECT_EQ(job.datasets(0).prompts_file(), "p.jsonl");
  EXPECT_EQ(job.datasets(1).generated().count(), 3);
  EXPECT_EQ(job.trainers().learning_rate(), 0.5);
  EXPECT_EQ(job.evaluation().budgets_size(), 2);
}

TEST(ParseJobTest, UnknownFieldIsNamedWithFileLineAndColumn) {
  EXPECT_THAT(ParseJob("name: \"a\"\ntrainers {\n  stepz: 5\n}\n", "job.textproto"),
              StatusIs(kInvalid, AllOf(HasSubstr("job.textproto:3:"), HasSubstr("field \"stepz\""),
                                       HasSubstr("kvp.Job.Trainers"))));
}

TEST(ParseJobTest, ValueOfAnotherTypeIsNamedWithItsField) {
  EXPECT_THAT(ParseJob("name: \"a\"\ntrainers { steps: \"many\" }\n", "job.textproto"),
              StatusIs(kInvalid, AllOf(HasSubstr("job.textproto:2:19: field \"steps\": "),
                                       HasSubstr("many"))));
}

TEST(ParseJobTest, ErrorIsOneLineWhereTextIsCutShort) {
  const absl::Status status = ParseJob("trainers {\n  steps: 5\n", "job.textproto").status();
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("job.textproto:3:1: ")));
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
}

TEST(ApplyOverrideTest, SetsScalarsOfEveryTypeAndCreatesSections) {
  Job job;
  EXPECT_OK(ApplyOverride("trainers.steps=500", &job));
  EXPECT_OK(ApplyOverride("trainers.learning_rate=1e-4", &job));
  EXPECT_OK(ApplyOverride("trainers.seed=5000000000", &job));
  EXPECT_OK(ApplyOverride("name=a=b", &job));
  EXPECT_EQ(job.trainers().steps(), 500);
  EXPECT_EQ(job.trainers().learning_rate(), 1e-4);
  EXPECT_EQ(job.trainers().seed(), 5000000000);
  EXPECT_EQ(job.name(), "a=b");
}

TEST(ApplyOverrideTest, ReachesIntoAListAndReplacesRepeatedScalars) {
  Job job;
  job.add_datasets();
  job.add_datasets()->mutable_generated()->set_count(5);
  job.mutable_evaluation()->add_budgets(0.5);
  EXPECT_OK(ApplyOverride("datasets[1].generated.count=96", &job));
  EXPECT_OK(ApplyOverride("evaluation.budgets=0.25,0.125", &job));
  EXPECT_EQ(job.datasets(1).generated().count(), 96);
  EXPECT_THAT(job.evaluation().budgets(), testing::ElementsAre(0.25, 0.125));
}

TEST(ApplyOverrideTest, EmptyValueRemovesASection) {
  Job job;
  job.mutable_evaluation()->set_prompts(3);
  EXPECT_OK(ApplyOverride("evaluation=", &job));
  EXPECT_FALSE(job.has_evaluation());
}

TEST(ApplyOverrideTest, ErrorsNameTheAssignmentAndTheFault) {
  Job job;
  job.add_datasets();
  const auto message = [&](const char* assignment) {
    const absl::Status status = ApplyOverride(assignment, &job);
    EXPECT_FALSE(status.ok()) << assignment;
    return std::string(status.message());
  };
  EXPECT_THAT(message("trainers.stepz=5"),
              AllOf(HasSubstr("--set trainers.stepz=5"), HasSubstr("field \"stepz\" is unknown")));
  EXPECT_THAT(message("trainerz.steps=5"), HasSubstr("field \"trainerz\" is unknown"));
  EXPECT_THAT(message("trainers.steps=5.5"), HasSubstr("\"5.5\" is no 32-bit integer"));
  EXPECT_THAT(message("trainers.steps=9999999999"), HasSubstr("is no 32-bit integer"));
  EXPECT_THAT(message("trainers=5"), HasSubstr("is a section"));
  EXPECT_THAT(message("name.x=5"), HasSubstr("\"name\" is no section"));
  EXPECT_THAT(message("datasets[1].cuts=5"), HasSubstr("there is no datasets[1]"));
  EXPECT_THAT(message("datasets.cuts=5"), HasSubstr("say which"));
  EXPECT_THAT(message("trainers[0].steps=5"), HasSubstr("is no list"));
  EXPECT_THAT(message("steps"), HasSubstr("isn't FIELD=VALUE"));
}

TEST(SetDefaultValuesTest, FillsSectionsThatAreThereAndKeepsWhatIsSet) {
  Job job;
  job.mutable_trainers()->set_steps(5);
  job.add_datasets();
  SetDefaultValues(&job);
  EXPECT_EQ(job.trainers().steps(), 5);
  EXPECT_TRUE(job.trainers().has_objective());
  EXPECT_TRUE(job.datasets(0).has_cuts());
  EXPECT_FALSE(job.has_evaluation());
  EXPECT_FALSE(job.has_name());
}

}  // namespace
}  // namespace kvp

#include "trainer/step_log.h"

#include "absl/strings/str_cat.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

std::string Path(const std::string& name) { return absl::StrCat(testing::TempDir(), "/", name); }

TEST(StepLogTest, AResumedRunKeepsTheLinesOfStepsDoneAndDropsTheOthers) {
  const std::string path = Path("resumed.jsonl");
  // The kill cut off a line, and the run goes back to step 2.
  ASSERT_OK(WriteFileAtomically(
      path, {"{\"step\":1,\"loss\":3}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4,\"lo"}));
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<StepLog> log, StepLog::Open(path, 2));
  log->Add({{"step", 3}, {"again", true}});
  ASSERT_OK(log->Flush());
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(path));
  EXPECT_EQ(text, "{\"step\":1,\"loss\":3}\n{\"step\":2}\n{\"again\":true,\"step\":3}\n");
}

TEST(StepLogTest, ANewRunBeginsAnEmptyFile) {
  const std::string path = Path("new.jsonl");
  ASSERT_OK(WriteFileAtomically(path, {"{\"step\":1}\n"}));
  ASSERT_OK(StepLog::Open(path, 0));
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(path));
  EXPECT_EQ(text, "");
}

TEST(StepLogTest, AFileThatCannotBeWrittenIsNamed) {
  EXPECT_THAT(StepLog::Open("/nowhere/metrics.jsonl", 0).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/nowhere/metrics.jsonl")));
}

}  // namespace
}  // namespace kvp

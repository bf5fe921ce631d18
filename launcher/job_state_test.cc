#include "launcher/job_state.h"

#include <sys/wait.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/job_folder.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

JobState NewState() {
  JobState state;
  state.name = "small";
  state.host = "here";
  state.pid = 41;
  state.stage = "collect train";
  state.stage_number = 2;
  state.stage_count = 5;
  state.begin = absl::FromUnixSeconds(1000);
  state.updated = absl::FromUnixSeconds(1060);
  ProcessState shard;
  shard.name = "shard-0";
  shard.stage = "shards";
  shard.host = "n1";
  shard.pid = 42;
  shard.port = 4000;
  shard.status = "running";
  shard.log = "/out/logs/shard-0.log";
  ProcessState collector = shard;
  collector.name = "collector-train-0";
  collector.stage = state.stage;
  collector.port = 0;
  collector.restarts = 2;
  collector.progress = ProcessProgress{3, 8, "traces", "1.5 traces/s"};
  state.processes = {shard, collector};
  return state;
}

TEST(JobStateTest, ComesBackFromItsText) {
  const std::string text = JobStateJson(NewState());
  ASSERT_OK_AND_ASSIGN(const JobState state, ParseJobState(text, "status.json"));
  EXPECT_EQ(state.stage_number, 2);
  ASSERT_EQ(state.processes.size(), 2);
  EXPECT_EQ(state.processes[1].restarts, 2);
  EXPECT_EQ(state.processes[1].progress->done, 3);
  EXPECT_EQ(JobStateJson(state), text);
}

TEST(JobStateTest, NamesFileAndFieldOfWhatIsWrong) {
  const auto error = [](const std::string& text) {
    return std::string(ParseJobState(text, "status.json").status().message());
  };
  EXPECT_THAT(error("[]"), HasSubstr("status.json: isn't a JSON object"));
  EXPECT_THAT(error("{\"name\": 3}"), HasSubstr("status.json: name: "));
  std::string text = JobStateJson(NewState());
  text.replace(text.find("\"port\": 4000"), 12, "\"port\": true");
  EXPECT_THAT(error(text), HasSubstr("status.json: processes[0]: port: "));
}

TEST(JobStateTest, TableHasALineForEachProcess) {
  const std::string text = JobStateText(NewState(), absl::FromUnixSeconds(1090));
  EXPECT_THAT(text, HasSubstr("small: running, stage 2/5 collect train, 1 min 30 s, launcher 41"));
  EXPECT_THAT(text, HasSubstr("3/8 traces, 1.5 traces/s\n"));
  EXPECT_THAT(text, HasSubstr("4000"));
}

TEST(JobStateTest, JobWithoutALaunchIsInterrupted) {
  const std::string folder = testing::TempDir() + "/interrupted";
  EXPECT_THAT(ReadJobState(folder).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(folder)));
  ASSERT_OK(MakeDirectories(folder));
  ASSERT_OK(WriteFileAtomically(StatePath(folder), {JobStateJson(NewState())}));
  ASSERT_OK_AND_ASSIGN(JobState state, ReadJobState(folder));
  EXPECT_EQ(state.status, "interrupted");
  EXPECT_EQ(state.processes[0].status, "stopped");
  EXPECT_EQ(state.processes[0].pid, 0);
  ASSERT_OK(LockJobFolder(folder));
  ASSERT_OK_AND_ASSIGN(state, ReadJobState(folder));
  EXPECT_EQ(state.status, "running");
}

TEST(JobFolderTest, LockIsHeldByForksToo) {
  const std::string folder = testing::TempDir() + "/locked";
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(pipes[1]);
    if (!LockJobFolder(folder).ok()) _exit(1);
    const pid_t grandchild = fork();
    if (grandchild > 0) _exit(0);
    char byte;
    [[maybe_unused]] const ssize_t bytes = read(pipes[0], &byte, 1);
    _exit(0);
  }
  close(pipes[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(IsJobRunning(folder));
  EXPECT_THAT(LockJobFolder(folder), StatusIs(absl::StatusCode::kFailedPrecondition,
                                              HasSubstr("another launch is running")));
  close(pipes[1]);
  for (int i = 0; i < 3000 && IsJobRunning(folder); ++i) usleep(10000);
  EXPECT_FALSE(IsJobRunning(folder));
}

TEST(NamesProcessTest, TakesRolesAndIndexes) {
  EXPECT_TRUE(NamesProcess("collector-train/0", "collector-train-0"));
  EXPECT_TRUE(NamesProcess("collector/0", "collector-train-0"));
  EXPECT_TRUE(NamesProcess("collector", "collector-train-3"));
  EXPECT_TRUE(NamesProcess("shard/12", "shard-12"));
  EXPECT_TRUE(NamesProcess("shard-12", "shard-12"));
  EXPECT_FALSE(NamesProcess("shard/1", "shard-12"));
  EXPECT_FALSE(NamesProcess("coll", "collector-train-0"));
  EXPECT_FALSE(NamesProcess("shard/0", "trainer-0"));
}

}  // namespace
}  // namespace kvp

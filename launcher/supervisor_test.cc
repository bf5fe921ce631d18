#include "launcher/supervisor.h"

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/health_check.h"
#include "launcher/local_backend.h"
#include "util/file.h"
#include "util/status_macros.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/",
                           testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK(MakeDirectories(folder_));
    ASSERT_OK_AND_ASSIGN(backend_, LocalBackend::Create());
    options_.first_backoff = absl::Milliseconds(10);
    options_.health_interval = absl::Milliseconds(20);
    options_.start_timeout = absl::Seconds(30);
  }

  Supervisor& Make() {
    supervisor_ = std::make_unique<Supervisor>(
        backend_.get(), options_, [this](auto line) { absl::StrAppend(&said_, line, "\n"); });
    return *supervisor_;
  }

  ProcessSpec Shell(const std::string& name, const std::string& script) const {
    ProcessSpec spec;
    spec.name = name;
    spec.argv = {"/bin/sh", "-c", script};
    spec.log_path = absl::StrCat(folder_, "/", name, ".log");
    return spec;
  }

  ProcessSpec Shard() const {
    ProcessSpec spec = Shell("shard-0", "");
    spec.port_file = folder_ + "/shard-0.port";
    spec.argv = {std::filesystem::current_path().string() + "/launcher/fake_shard",
                 "--listen=127.0.0.1:0", "--port-file=" + spec.port_file};
    return spec;
  }

  // Waits until `condition`, or fails.
  template <typename Condition>
  absl::Status WaitUntil(Condition condition) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (!condition()) {
      if (absl::Now() > deadline) return absl::DeadlineExceededError(said_);
      RETURN_IF_ERROR(supervisor_->Wait(absl::Milliseconds(20)));
    }
    return absl::OkStatus();
  }

  std::string folder_;
  std::unique_ptr<LocalBackend> backend_;
  Supervisor::Options options_;
  std::unique_ptr<Supervisor> supervisor_;
  std::string said_;
};

TEST_F(SupervisorTest, StageIsDoneWhenAllOfItEndedWell) {
  Supervisor& supervisor = Make();
  ASSERT_OK(supervisor.Start("collect", Shell("collector-a-0", "exit 0")));
  ASSERT_OK(supervisor.Start("collect", Shell("collector-a-1", "echo progress 2/2 traces")));
  ASSERT_OK(WaitUntil([&] { return supervisor.IsDone("collect"); }));
  const std::vector<ProcessState> processes = supervisor.Processes();
  ASSERT_EQ(processes.size(), 2);
  EXPECT_EQ(processes[1].status, "done");
  EXPECT_EQ(processes[1].progress->done, 2);
  EXPECT_EQ(processes[1].pid, 0);
}

TEST_F(SupervisorTest, WhatDiesIsStartedAgainLaterEachTime) {
  options_.retries = 3;
  options_.first_backoff = absl::Milliseconds(40);
  Supervisor& supervisor = Make();
  const std::string dies_three_times = absl::StrCat("echo x >> ", folder_, "/runs; [ $(wc -l < ",
                                                    folder_, "/runs) -gt 3 ] || kill -9 $$");
  const absl::Time begin = absl::Now();
  ASSERT_OK(supervisor.Start("train", Shell("trainer-0", dies_three_times)));
  ASSERT_OK(WaitUntil([&] { return supervisor.IsDone("train"); }));
  // 40 + 80 + 160 ms.
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(280));
  EXPECT_EQ(supervisor.Processes()[0].restarts, 3);
  EXPECT_THAT(said_, HasSubstr("signal 9 (Killed)): it is started again in 0.2 s, 3 of 3"));
}

TEST_F(SupervisorTest, HopelessProcessFailsWithItsLastWords) {
  options_.retries = 1;
  Supervisor& supervisor = Make();
  ASSERT_OK(supervisor.Start("train", Shell("trainer-0", "echo no luck; exit 1")));
  EXPECT_THAT(WaitUntil([&] { return supervisor.IsDone("train"); }),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("trainer-0 died: it ended with exit status 1")));
  EXPECT_THAT(said_, HasSubstr("  | no luck\n"));
  EXPECT_EQ(supervisor.Processes()[0].status, "failed");
}

TEST_F(SupervisorTest, ServerThatIsKilledServesAgainOnItsPort) {
  options_.retries = 1;
  Supervisor& supervisor = Make();
  ASSERT_OK(supervisor.Start("shards", Shard()));
  EXPECT_FALSE(supervisor.Serves("shards"));
  ASSERT_OK(WaitUntil([&] { return supervisor.Serves("shards"); }));
  const std::string address = supervisor.Addresses("shards");
  kill(static_cast<pid_t>(supervisor.Processes()[0].pid), SIGKILL);
  ASSERT_OK(WaitUntil(
      [&] { return supervisor.Processes()[0].restarts == 1 && supervisor.Serves("shards"); }));
  EXPECT_EQ(supervisor.Addresses("shards"), address);
  EXPECT_OK(CheckHealth({address}, {}, absl::Seconds(10))[0]);
  EXPECT_OK(supervisor.StopStage("shards"));
}

TEST_F(SupervisorTest, ServerThatSaysThatItDoesNotServeIsReplaced) {
  options_.retries = 1;
  Supervisor& supervisor = Make();
  ASSERT_OK(supervisor.Start("shards", Shard()));
  ASSERT_OK(WaitUntil([&] { return supervisor.Serves("shards"); }));
  const int64_t pid = supervisor.Processes()[0].pid;
  kill(static_cast<pid_t>(pid), SIGUSR1);
  ASSERT_OK(WaitUntil(
      [&] { return supervisor.Processes()[0].restarts == 1 && supervisor.Serves("shards"); }));
  EXPECT_NE(supervisor.Processes()[0].pid, pid);
  EXPECT_THAT(said_, HasSubstr("shard-0 is killed: 3 health checks in a row failed"));
}

TEST_F(SupervisorTest, ServerThatHangsIsReplaced) {
  options_.retries = 1;
  options_.health_timeout = absl::Milliseconds(200);
  Supervisor& supervisor = Make();
  ASSERT_OK(supervisor.Start("shards", Shard()));
  ASSERT_OK(WaitUntil([&] { return supervisor.Serves("shards"); }));
  kill(static_cast<pid_t>(supervisor.Processes()[0].pid), SIGSTOP);
  ASSERT_OK(WaitUntil(
      [&] { return supervisor.Processes()[0].restarts == 1 && supervisor.Serves("shards"); }));
  EXPECT_THAT(said_, HasSubstr("doesn't answer"));
}

TEST_F(SupervisorTest, ServersStopAfterTheOthers) {
  Supervisor& supervisor = Make();
  ASSERT_OK(supervisor.Start("shards", Shard()));
  ASSERT_OK(WaitUntil([&] { return supervisor.Serves("shards"); }));
  const std::string pid = absl::StrCat(supervisor.Processes()[0].pid);
  const std::string alive = folder_ + "/shard_alive";
  ASSERT_OK(supervisor.Start(
      "collect", Shell("collector-a-0", absl::StrCat("trap 'sleep 0.3; kill -0 ", pid, " && touch ",
                                                     alive, "; exit 0' TERM; touch ", folder_,
                                                     "/ready; while :; do sleep 0.01; done"))));
  ASSERT_OK(WaitUntil([&] { return std::filesystem::exists(folder_ + "/ready"); }));
  ASSERT_OK(supervisor.StopAll());
  EXPECT_TRUE(std::filesystem::exists(alive));
  EXPECT_EQ(supervisor.Processes()[0].status, "stopped");
}

TEST(CheckHealthTest, NobodyThereIsUnavailable) {
  const auto statuses = CheckHealth({"127.0.0.1:1"}, {}, absl::Milliseconds(300));
  ASSERT_EQ(statuses.size(), 1);
  EXPECT_THAT(statuses[0], StatusIs(absl::StatusCode::kUnavailable, HasSubstr("127.0.0.1:1")));
}

}  // namespace
}  // namespace kvp

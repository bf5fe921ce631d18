#include "launcher/local_backend.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <functional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/guard.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kLong = absl::Seconds(30);

// Whether the process is gone, or only waits to be reaped.
bool Gone(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string stat;
  if (!std::getline(file, stat)) return true;
  return stat[stat.rfind(") ") + 2] == 'Z';
}

bool Eventually(const std::function<bool()>& condition) {
  for (const absl::Time end = absl::Now() + kLong; absl::Now() < end;) {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return false;
}

class LocalBackendTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/",
                           testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK(MakeDirectories(folder_));
  }

  ProcessSpec Shell(const std::string& name, const std::string& script) const {
    ProcessSpec spec;
    spec.name = name;
    spec.argv = {"/bin/sh", "-c", script};
    spec.log_path = absl::StrCat(folder_, "/", name, ".log");
    return spec;
  }

  std::string Log(const std::string& name) const {
    return ReadFile(absl::StrCat(folder_, "/", name, ".log")).value_or("");
  }

  bool EventuallyLogs(const std::string& name, const std::string& text) const {
    return Eventually([&] { return Log(name).find(text) != std::string::npos; });
  }

  // The numbers that a script wrote as "pids A B …", once it did.
  std::vector<pid_t> LoggedPids(const std::string& name) const {
    EXPECT_TRUE(EventuallyLogs(name, "\npids end")) << Log(name);
    std::vector<pid_t> pids;
    for (absl::string_view line : absl::StrSplit(Log(name), '\n')) {
      pid_t pid = 0;
      if (absl::ConsumePrefix(&line, "pid ") && absl::SimpleAtoi(line, &pid)) pids.push_back(pid);
    }
    return pids;
  }

  std::string folder_;
};

// Starts one child in its process group and one in a session of its own, and waits.
constexpr char kFamily[] =
    "sleep 1000 & echo pid $!; setsid sleep 1000 & echo pid $!; echo pids end; wait";

TEST_F(LocalBackendTest, OutputAndEnvironmentReachTheLog) {
  ASSERT_OK_AND_ASSIGN(const auto backend, LocalBackend::Create());
  ProcessSpec spec = Shell("a", "echo out $VALUE; echo err >&2; cat");
  spec.env = {{"VALUE", "7"}};
  ASSERT_OK_AND_ASSIGN(const Backend::Started started, backend->Start(spec));
  ASSERT_OK_AND_ASSIGN(const Backend::Events events, backend->Wait(kLong));
  ASSERT_EQ(events.ended.size(), 1);
  EXPECT_TRUE(events.ended[0].end.ok());
  EXPECT_EQ(Log("a").substr(started.log_begin), "out 7\nerr\n");
  EXPECT_THAT(Log("a"), StartsWith("--- 20"));
  EXPECT_THAT(Log("a"), HasSubstr("/bin/sh -c 'echo out $VALUE; echo err >&2; cat'\n"));
}

TEST_F(LocalBackendTest, TellsHowAProcessEnded) {
  ASSERT_OK_AND_ASSIGN(const auto backend, LocalBackend::Create());
  ASSERT_OK(backend->Start(Shell("a", "exit 3")));
  ASSERT_OK_AND_ASSIGN(Backend::Events events, backend->Wait(kLong));
  ASSERT_EQ(events.ended.size(), 1);
  EXPECT_EQ(events.ended[0].end.Text(), "exit status 3");
  EXPECT_EQ(events.ended[0].spec.name, "a");
  ASSERT_OK(backend->Start(Shell("a", "kill -9 $$")));
  ASSERT_OK_AND_ASSIGN(events, backend->Wait(kLong));
  ASSERT_EQ(events.ended.size(), 1);
  EXPECT_EQ(events.ended[0].end.Text(), "signal 9 (Killed)");
}

TEST_F(LocalBackendTest, ProgramThatIsNotThereIsAnErrorThatNamesIt) {
  ASSERT_OK_AND_ASSIGN(const auto backend, LocalBackend::Create());
  ProcessSpec spec = Shell("a", "");
  spec.argv = {"/nowhere/tool"};
  EXPECT_THAT(backend->Start(spec),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/tool")));
  spec.log_path = "/nowhere/a.log";
  EXPECT_THAT(backend->Start(spec),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/a.log")));
}

TEST_F(LocalBackendTest, NamesAreUniqueAmongThoseThatRun) {
  ASSERT_OK_AND_ASSIGN(const auto backend, LocalBackend::Create());
  ASSERT_OK(backend->Start(Shell("a", "sleep 1000")));
  EXPECT_THAT(backend->Start(Shell("a", "")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("a: ")));
}

TEST_F(LocalBackendTest, StopLetsAProcessDrain) {
  ASSERT_OK_AND_ASSIGN(const auto backend, LocalBackend::Create());
  ASSERT_OK(backend->Start(
      Shell("a", "trap 'echo drained; exit 0' TERM; echo ready; while :; do sleep 0.01; done")));
  ASSERT_OK(backend->Start(Shell("b", "sleep 1000")));
  ASSERT_TRUE(EventuallyLogs("a", "\nready"));
  ASSERT_OK_AND_ASSIGN(const auto ended, backend->Stop({"a"}, kLong));
  ASSERT_EQ(ended.size(), 1);
  EXPECT_TRUE(ended[0].end.ok());
  EXPECT_THAT(Log("a"), HasSubstr("\ndrained"));
  ASSERT_OK_AND_ASSIGN(const auto rest, backend->StopAll(kLong));
  ASSERT_EQ(rest.size(), 1);
  EXPECT_EQ(rest[0].spec.name, "b");
}

TEST_F(LocalBackendTest, StopKillsWhatDoesNotDrainInTime) {
  ASSERT_OK_AND_ASSIGN(const auto backend, LocalBackend::Create());
  ASSERT_OK(backend->Start(Shell("a", "trap '' TERM; echo ready; while :; do sleep 0.01; done")));
  ASSERT_TRUE(EventuallyLogs("a", "\nready"));
  ASSERT_OK_AND_ASSIGN(const auto ended, backend->StopAll(absl::Milliseconds(50)));
  ASSERT_EQ(ended.size(), 1);
  EXPECT_EQ(ended[0].end.Text(), "signal 9 (Killed)");
}

TEST_F(LocalBackendTest, GrandchildrenDieWithAProcessThatDied) {
  ASSERT_OK_AND_ASSIGN(const auto backend, LocalBackend::Create());
  ASSERT_OK(backend->Start(Shell("a", std::string("echo pid $$; ") + kFamily)));
  const std::vector<pid_t> pids = LoggedPids("a");
  ASSERT_EQ(pids.size(), 3);
  kill(pids[0], SIGKILL);
  ASSERT_OK_AND_ASSIGN(const Backend::Events events, backend->Wait(kLong));
  ASSERT_EQ(events.ended.size(), 1);
  for (const pid_t pid : pids) EXPECT_TRUE(Gone(pid)) << pid;
}

TEST_F(LocalBackendTest, NothingIsLeftOfABackendThatIsDestroyed) {
  std::vector<pid_t> pids;
  {
    ASSERT_OK_AND_ASSIGN(const auto backend, LocalBackend::Create());
    ASSERT_OK(backend->Start(Shell("a", kFamily)));
    pids = LoggedPids("a");
  }
  ASSERT_EQ(pids.size(), 2);
  for (const pid_t pid : pids) EXPECT_TRUE(Gone(pid)) << pid;
}

TEST_F(LocalBackendTest, WaitTellsOfARequestToStop) {
  ASSERT_OK_AND_ASSIGN(const auto backend, LocalBackend::Create());
  kill(getpid(), SIGINT);
  ASSERT_OK_AND_ASSIGN(Backend::Events events, backend->Wait(kLong));
  EXPECT_EQ(events.stop_signal, SIGINT);
  ASSERT_OK_AND_ASSIGN(events, backend->Wait(absl::Milliseconds(1)));
  EXPECT_EQ(events.stop_signal, 0);
}

TEST_F(LocalBackendTest, NothingIsLeftWhereLauncherIsKilled) {
  const pid_t guard = fork();
  if (guard == 0) {
    if (!StartGuard().ok()) _exit(1);
    const auto backend = LocalBackend::Create();
    if (!backend.ok() || !(*backend)->Start(Shell("a", kFamily)).ok()) _exit(1);
    LoggedPids("a");
    kill(getpid(), SIGKILL);
  }
  const std::vector<pid_t> pids = LoggedPids("a");
  int status = 0;
  ASSERT_EQ(waitpid(guard, &status, 0), guard);
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGKILL);
  ASSERT_EQ(pids.size(), 2);
  for (const pid_t pid : pids) EXPECT_TRUE(Gone(pid)) << pid;
}

TEST_F(LocalBackendTest, LauncherStopsWhereItsGuardIsKilled) {
  const pid_t guard = fork();
  if (guard == 0) {
    if (!StartGuard().ok()) _exit(1);
    const auto backend = LocalBackend::Create();
    if (!backend.ok() || !(*backend)->Start(Shell("a", kFamily)).ok()) _exit(1);
    const auto events = (*backend)->Wait(kLong);
    if (!events.ok() || events->stop_signal != SIGTERM) _exit(1);
    (void)(*backend)->StopAll(kLong);
    (void)WriteFileAtomically(folder_ + "/stopped", {"cleanly"});
    _exit(0);
  }
  const std::vector<pid_t> pids = LoggedPids("a");
  kill(guard, SIGKILL);
  ASSERT_EQ(waitpid(guard, nullptr, 0), guard);
  EXPECT_TRUE(Eventually([&] { return ReadFile(folder_ + "/stopped").ok(); }));
  ASSERT_EQ(pids.size(), 2);
  for (const pid_t pid : pids) EXPECT_TRUE(Gone(pid)) << pid;
}

TEST_F(LocalBackendTest, GuardPassesSignalsOnAndExitsAsTheLauncherDid) {
  const pid_t guard = fork();
  if (guard == 0) {
    if (!StartGuard().ok()) _exit(1);
    const auto backend = LocalBackend::Create();
    if (!backend.ok()) _exit(1);
    (void)WriteFileAtomically(folder_ + "/ready", {""});
    const auto events = (*backend)->Wait(kLong);
    _exit(events.ok() && events->stop_signal == SIGHUP ? 42 : 1);
  }
  ASSERT_TRUE(Eventually([&] { return ReadFile(folder_ + "/ready").ok(); }));
  kill(guard, SIGHUP);
  int status = 0;
  ASSERT_EQ(waitpid(guard, &status, 0), guard);
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

}  // namespace
}  // namespace kvp

// The front end and `kvp launch` as a whole, with shell scripts in the place of the other tools.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

// Defines $name for every --name=value of the command line (dashes as underscores).
constexpr char kHead[] = R"(#!/bin/bash
for argument in "$@"; do
  pair=${argument#--}; key=${pair%%=*}; declare "${key//-/_}=${pair#*=}"
done
)";

constexpr char kCollect[] = R"(
echo "progress 4/4 traces, $generate for $shards"
)";
constexpr char kTrain[] = R"(
echo "agents $steps" > "$output"
)";
constexpr char kEvaluate[] = R"(
echo '{}' > "$json"; cp "$agents" "$report"; echo kvp is best
)";

struct Ran {
  int status = 0;
  std::string out;
  std::string err;
};

class KvpTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/",
                           testing::UnitTest::GetInstance()->current_test_info()->name());
    for (const char* name : {"launcher", "model"}) {
      ASSERT_OK(MakeDirectories(absl::StrCat(folder_, "/", name)));
    }
    fs::copy_file("launcher/kvp_alone", folder_ + "/launcher/kvp");
    for (const char* tool : {"status", "logs", "stop"}) {
      fs::copy_file(absl::StrCat("launcher/", tool), absl::StrCat(folder_, "/launcher/", tool));
    }
    ASSERT_OK(MakeDirectories(folder_ + "/storage"));
    fs::copy_file("launcher/fake_shard", folder_ + "/storage/serve");
    Tool("collector/collect", kCollect);
    Tool("trainer/train", kTrain);
    Tool("eval/evaluate", kEvaluate);
    Write("text.txt", "x\n");
    Write("model/config.json", R"({"num_hidden_layers": 4, "num_key_value_heads": 2})");
    Write("job.textproto", R"(
      name: "small"
      model { path: "model" }
      shards { count: 2 }
      collectors { count: 2 }
      datasets { split: "train" generated { task: "retrieval" count: 8 text_file: "text.txt" } }
      datasets { split: "held_out" generated { task: "text" count: 8 text_file: "text.txt" } }
      trainers { steps: 3 }
      evaluation { text_file: "text.txt" })");
  }

  void Write(const std::string& name, const std::string& text) const {
    ASSERT_OK(WriteFileAtomically(absl::StrCat(folder_, "/", name), {text}));
  }

  void Tool(const std::string& name, const std::string& script) const {
    const fs::path path = fs::path(folder_) / name;
    ASSERT_OK(MakeDirectories(path.parent_path().string()));
    Write(name, kHead + script);
    fs::permissions(path, fs::perms::owner_all);
  }

  std::string Read(const std::string& name) const {
    return ReadFile(absl::StrCat(folder_, "/", name)).value_or("");
  }

  Ran Kvp(const std::string& arguments) const {
    const std::string command = absl::StrCat("cd ", folder_, " && launcher/kvp ", arguments,
                                             " >out.txt 2>err.txt </dev/null");
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Read("out.txt"), Read("err.txt")};
  }

  nlohmann::json Manifest() const {
    return nlohmann::json::parse(Read("out/small/manifest.json"), nullptr, false);
  }

  // Starts a launch in the background and waits until `path` is there; returns the launch's pid.
  pid_t StartLaunch(const std::string& path) const {
    const pid_t pid = fork();
    if (pid == 0) {
      if (chdir(folder_.c_str()) != 0 || freopen("err.txt", "w", stderr) == nullptr) _exit(1);
      execl("launcher/kvp", "launcher/kvp", "launch", "job.textproto", nullptr);
      _exit(1);
    }
    for (int i = 0; i < 3000 && !fs::exists(absl::StrCat(folder_, "/", path)); ++i) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    return pid;
  }

  std::string folder_;
};

std::string LastLine(const std::string& text) {
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  return lines.empty() ? "" : lines.back();
}

TEST_F(KvpTest, VerbBecomesItsToolWithArgumentsAndExitStatus) {
  Tool("eval/generate", "printf '<%s>' \"$@\"; exit 7\n");
  const Ran ran = Kvp("generate --prompt 'a  b' ''");
  EXPECT_EQ(ran.status, 7);
  EXPECT_EQ(ran.out, "<--prompt><a  b><>");
}

TEST_F(KvpTest, HelpListsTheVerbs) {
  const Ran ran = Kvp("--help");
  EXPECT_EQ(ran.status, 0);
  for (const char* verb : {"launch", "status", "logs", "stop", "serve", "collect", "train",
                           "evaluate", "generate", "inspect", "bench"}) {
    EXPECT_THAT(ran.out, HasSubstr(absl::StrCat("  ", verb, " ")));
  }
  EXPECT_EQ(Kvp("").status, 2);
  EXPECT_THAT(Kvp("--version").out, HasSubstr("kvp "));
}

TEST_F(KvpTest, BenchBecomesTheToolOfWhatIsMeasured) {
  const Ran help = Kvp("bench --help");
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.out, HasSubstr("  collect "));
  EXPECT_EQ(Kvp("bench").status, 2);
  const Ran unknown = Kvp("bench dance");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err, HasSubstr("unknown measurement \"dance\""));
  const Ran missing = Kvp("bench collect --json x.json");
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("tests/benchmarks/bench_collect"));
}

TEST_F(KvpTest, UnknownVerbIsWrongUsage) {
  const Ran ran = Kvp("dance");
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.err, HasSubstr("unknown verb \"dance\""));
}

TEST_F(KvpTest, ToolThatIsNotThereIsNamed) {
  const Ran ran = Kvp("inspect");
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.err, HasSubstr("storage/inspect"));
}

TEST_F(KvpTest, LaunchRunsTheJobAndKeepsEverythingInOneFolder) {
  const Ran ran = Kvp("launch job.textproto --set trainers.steps=5");
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("/out/small/report.html\n"));
  EXPECT_THAT(ran.out, HasSubstr("kvp is best\n"));
  EXPECT_THAT(ran.err, HasSubstr("[2/6] collect train: done in "));
  EXPECT_THAT(ran.err, HasSubstr("(8/8 traces)"));
  EXPECT_EQ(Read("out/small/agents.safetensors"), "agents 5\n");
  EXPECT_THAT(Read("out/small/logs/collector-train-1.log"),
              ContainsRegex("retrieval for 127.0.0.1:[0-9]+,127.0.0.1:[0-9]+\n"));
  EXPECT_THAT(Read("out/small/logs/shard-1.log"), HasSubstr("drained"));
  const nlohmann::json manifest = Manifest();
  EXPECT_EQ(manifest["result"], "done");
  EXPECT_EQ(manifest["job"]["trainers"]["steps"], 5);
  EXPECT_EQ(manifest["seeds"]["dataset train"], 1);
  EXPECT_EQ(manifest["stages"].size(), 6);
  EXPECT_EQ(manifest["programs"].size(), 4);
}

TEST_F(KvpTest, LaunchGoesOnInItsFolderButNotWithOtherTraces) {
  EXPECT_EQ(Kvp("launch job.textproto").status, 0);
  EXPECT_EQ(Kvp("launch job.textproto --set trainers.steps=9").status, 0);
  EXPECT_EQ(Read("out/small/agents.safetensors"), "agents 9\n");
  const Ran ran = Kvp("launch job.textproto --set datasets[0].generated.seed=2");
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("holds the traces of another job"), HasSubstr("seed")));
}

TEST_F(KvpTest, PartThatDiesIsNamedWithItsLogAndLastLines) {
  Tool("collector/collect",
       "echo first; echo 'model.safetensors: is cut short' >&2; [ $worker_index = 0 ] && exit 1; "
       "sleep 1000");
  const Ran ran = Kvp("launch job.textproto");
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.err, HasSubstr("  | first\n  | model.safetensors: is cut short\n"));
  EXPECT_THAT(LastLine(ran.err),
              AllOf(HasSubstr("collector-train-0 died: it ended with exit status 1"),
                    HasSubstr("out/small/logs/collector-train-0.log"),
                    HasSubstr("model.safetensors: is cut short")));
  EXPECT_THAT(Read("out/small/logs/shard-0.log"), HasSubstr("drained"));
  EXPECT_EQ(Manifest()["result"], "failed");
}

TEST_F(KvpTest, ShardThatIsKilledIsNamed) {
  Tool("collector/collect", "kill -9 $(cat shard-1.pid); sleep 1000");
  const Ran ran = Kvp("launch job.textproto --set collectors.count=1");
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(LastLine(ran.err), HasSubstr("shard-1 died: it ended with signal 9 (Killed)"));
}

TEST_F(KvpTest, RetriesStartADeadPartAgain) {
  Tool("trainer/train", std::string("[ -e died ] || { touch died; kill -9 $$; }\n") + kTrain);
  const Ran ran = Kvp("launch job.textproto --set retries=1");
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_THAT(
      ran.err,
      HasSubstr("trainer-0 died (signal 9 (Killed)): it is started again in 1.0 s, 1 of 1"));
  EXPECT_EQ(Read("out/small/agents.safetensors"), "agents 3\n");
}

TEST_F(KvpTest, CheckpointsStayUntilTheTrainingIsDone) {
  // As a trainer that is killed after a checkpoint, and goes on from it.
  Tool("trainer/train",
       std::string("[ -e \"$checkpoint_dir/1\" ] || { mkdir -p \"$checkpoint_dir\"; "
                   "touch \"$checkpoint_dir/1\"; kill -9 $$; }\n"
                   "[ $resume = true ] || exit 1\n") +
           kTrain);
  EXPECT_EQ(Kvp("launch job.textproto").status, 1);
  EXPECT_TRUE(fs::exists(folder_ + "/out/small/checkpoints/1"));
  EXPECT_EQ(Kvp("launch job.textproto").status, 0);
  EXPECT_FALSE(fs::exists(folder_ + "/out/small/checkpoints"));
}

TEST_F(KvpTest, PartThatRefusesItsArgumentsIsNotStartedAgain) {
  Tool("trainer/train", "echo 'flag --steps: bad' >&2; exit 2");
  const Ran ran = Kvp("launch job.textproto --set retries=5");
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.err, Not(HasSubstr("started again")));
  EXPECT_THAT(LastLine(ran.err), HasSubstr("trainer-0 refused its arguments: exit status 2"));
}

TEST_F(KvpTest, PartThatWritesNoResultIsAFailure) {
  Tool("trainer/train", "exit 0");
  const Ran ran = Kvp("launch job.textproto");
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(LastLine(ran.err), AllOf(HasSubstr("trainer-0"), HasSubstr("agents.safetensors")));
}

TEST_F(KvpTest, PartThatEndsBeforeItIsDoneIsAFailure) {
  Tool("collector/collect", "echo 'progress 3/4 traces, stopped'");
  const Ran ran = Kvp("launch job.textproto");
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(LastLine(ran.err), HasSubstr("ended before it was done, with exit status 0"));
}

TEST_F(KvpTest, ShardThatIsKilledIsStartedAgain) {
  Tool("collector/collect", std::string("[ -e killed ] || { touch killed; kill -9 $(cat "
                                        "shard-1.pid); sleep 3; }\n") +
                                kCollect);
  const Ran ran = Kvp("launch job.textproto --set collectors.count=1 --set retries=1");
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("shard-1 died (signal 9 (Killed)): it is started again"));
  EXPECT_THAT(Read("out/small/logs/shard-1.log"), HasSubstr("drained"));
}

TEST_F(KvpTest, StatusTellsOfEveryProcess) {
  EXPECT_EQ(Kvp("launch job.textproto").status, 0);
  const Ran table = Kvp("status out/small");
  EXPECT_EQ(table.status, 0);
  EXPECT_THAT(table.out, HasSubstr("small: done, stage 6/6"));
  const nlohmann::json state = nlohmann::json::parse(Kvp("status out/small --json").out);
  EXPECT_EQ(state["status"], "done");
  ASSERT_EQ(state["processes"].size(), 8);
  EXPECT_EQ(state["processes"][2]["role"], "collector-train");
  EXPECT_EQ(state["processes"][3]["index"], "1");
  EXPECT_EQ(state["processes"][3]["progress"]["done"], 4);
  EXPECT_GT(state["processes"][0]["port"], 0);
  EXPECT_EQ(Kvp("status out/nothing").status, 1);
  EXPECT_EQ(Kvp("status").status, 2);
}

TEST_F(KvpTest, LogsAreOfThoseThatAreNamed) {
  EXPECT_EQ(Kvp("launch job.textproto").status, 0);
  const Ran all = Kvp("logs out/small collector");
  EXPECT_THAT(all.out, AllOf(HasSubstr("collector-train-0  progress 4/4 traces, retrieval"),
                             HasSubstr("collector-held_out-1  progress 4/4 traces, text"),
                             Not(HasSubstr("shard-0"))));
  EXPECT_THAT(Kvp("logs out/small shard/1 --lines 1").out, "drained\n");
  const Ran none = Kvp("logs out/small painter/0");
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.err, HasSubstr("no log of painter/0"));
}

TEST_F(KvpTest, StopEndsAJobThatResumeGoesOnWith) {
  // The first collectors of the second dataset wait until they are stopped.
  Tool("collector/collect",
       std::string("echo $generate >> collected; [ $generate = text ] && [ ! -e "
                   "stopped ] && { touch started; sleep 1000; }\n") +
           kCollect);
  const pid_t pid = StartLaunch("started");
  const Ran followed = Kvp("stop out/small");
  EXPECT_EQ(followed.status, 0) << followed.err;
  EXPECT_EQ(followed.out, "small: stopped\n");
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGTERM);
  EXPECT_EQ(Kvp("status out/small").status, 1);
  EXPECT_THAT(Kvp("stop out/small").out, HasSubstr("small isn't running: stopped"));

  Write("stopped", "");
  const Ran resumed = Kvp("launch --resume out/small");
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("[2/6] collect train: was done before"));
  EXPECT_EQ(Read("collected"), "retrieval\nretrieval\ntext\ntext\ntext\ntext\n");
  EXPECT_EQ(Manifest()["resumed"], 1);
  EXPECT_EQ(Manifest()["stages"][0]["name"], "collect train");
  EXPECT_THAT(Kvp("launch --resume out/small").err, HasSubstr("every stage was done before"));
}

TEST_F(KvpTest, LauncherThatIsKilledLeavesNothingAndResumeGoesOn) {
  Tool("trainer/train", std::string("[ -e killed ] || { touch killed; sleep 1000; }\n") + kTrain);
  const pid_t pid = StartLaunch("killed");
  const nlohmann::json state = nlohmann::json::parse(Kvp("status out/small --json").out);
  ASSERT_EQ(kill(state["pid"].get<pid_t>(), SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGKILL);
  for (const auto& process : state["processes"]) {
    if (process["pid"] == 0) continue;
    EXPECT_NE(kill(process["pid"].get<pid_t>(), 0), 0) << process;
  }
  EXPECT_THAT(Kvp("status out/small").out, HasSubstr("small: interrupted"));
  EXPECT_EQ(Kvp("launch --resume out/small").status, 0);
  EXPECT_EQ(Read("out/small/agents.safetensors"), "agents 3\n");
}

TEST_F(KvpTest, ManifestRepeatsItsJobOnTheSameInputs) {
  EXPECT_EQ(Kvp("launch job.textproto --set trainers.steps=7").status, 0);
  const std::string again = "launch --from-manifest out/small/manifest.json --output out/again";
  const Ran ran = Kvp(again);
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(Read("out/again/agents.safetensors"), "agents 7\n");
  EXPECT_THAT(Read("out/again/logs/shard-0.log"), HasSubstr("/out/again/shards/0"));
  Write("text.txt", "y\n");
  const Ran changed = Kvp(again);
  EXPECT_EQ(changed.status, 1);
  EXPECT_THAT(changed.err, HasSubstr("text.txt: isn't what it was: it is sha256 "));
}

TEST_F(KvpTest, ShardThatNeverServesIsAFailure) {
  fs::remove(folder_ + "/storage/serve");
  Tool("storage/serve", "sleep 1000");
  const Ran ran = Kvp("launch job.textproto --set shards.start_timeout_s=1");
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(LastLine(ran.err), HasSubstr("shard-0 doesn't serve after 1.0 s"));
}

TEST_F(KvpTest, SignalStopsEverythingCleanly) {
  Tool("collector/collect",
       "trap 'echo drained; exit 0' TERM; touch started; "
       "sleep 1000 & wait");
  const pid_t pid = StartLaunch("started");
  kill(pid, SIGINT);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGINT);
  EXPECT_THAT(LastLine(Read("err.txt")), HasSubstr("stopped by signal 2 (Interrupt)"));
  EXPECT_THAT(Read("out/small/logs/shard-0.log"), HasSubstr("drained"));
  EXPECT_THAT(Read("out/small/logs/collector-train-0.log"), HasSubstr("drained"));
  EXPECT_EQ(Manifest()["result"], "stopped");
}

TEST_F(KvpTest, OneLaunchAtATimeInAFolder) {
  Tool("collector/collect", "touch started; sleep 1000");
  const pid_t pid = StartLaunch("started");
  const Ran ran = Kvp("launch job.textproto");
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.err, HasSubstr("another launch is running"));
  kill(pid, SIGTERM);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGTERM);
}

TEST_F(KvpTest, DryRunPrintsThePlanAndDoesNothing) {
  const Ran ran = Kvp("launch job.textproto --dry-run --output elsewhere");
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.out, HasSubstr("/elsewhere/logs/collector-train-0.log"));
  EXPECT_THAT(ran.out, HasSubstr("estimate: 16 traces of "));
  EXPECT_FALSE(fs::exists(folder_ + "/elsewhere"));
}

TEST_F(KvpTest, WrongJobFilesAndArgumentsAreWrongUsage) {
  Write("bad.textproto", "name: \"a\"\nnmae: 3\n");
  Ran ran = Kvp("launch bad.textproto");
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.err, HasSubstr("bad.textproto:2:5: field \"nmae\" is unknown"));
  ran = Kvp("launch none.textproto");
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.err, HasSubstr("none.textproto"));
  EXPECT_EQ(Kvp("launch").status, 2);
  EXPECT_EQ(Kvp("launch job.textproto --set").status, 2);
  EXPECT_EQ(Kvp("launch job.textproto --set trainers.stepz=1").status, 2);
  EXPECT_EQ(Kvp("launch job.textproto --set shards.count=9").status, 2);
  EXPECT_EQ(Kvp("launch job.textproto --jobs=1").status, 2);
}

}  // namespace
}  // namespace kvp

// Trainers are killed (SIGKILL) at random steps, and go on from their checkpoints with another
// number of ranks: at the end the agents are, byte for byte, those of a run that never stopped.

#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "storage/test_cluster.h"
#include "storage/trace_writer.h"
#include "tests/fault/child_process.h"
#include "tests/fault/fault_traces.h"
#include "tests/run_command.h"
#include "trainer/synthetic_traces.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

namespace fs = std::filesystem;

// So many steps are done between two kills, on average.
constexpr int kStepsOfTrial = 8;

absl::Status WriteTraces(const TestCluster& cluster) {
  for (const char* split : {"train", "held_out"}) {
    SyntheticTraceSpec spec;
    spec.split = split;
    spec.traces = 7;
    const std::vector<SyntheticTrace> traces = MakeSyntheticTraces(spec);
    TraceWriter::Options options;
    options.shards = cluster.addresses();
    options.model = traces[0].record.model();
    ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> writer, TraceWriter::Connect(options));
    for (const SyntheticTrace& trace : traces) {
      for (const HeadBlock& block : trace.blocks) RETURN_IF_ERROR(writer->Add(block));
      RETURN_IF_ERROR(writer->Commit(trace.record));
    }
  }
  return absl::OkStatus();
}

class TrainerKillTest : public testing::Test {
 protected:
  TrainerKillTest() : folder_(testing::TempDir() + "/trainer_kill") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"}) {
      setenv(name, "1", 1);
    }
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 1);
    setenv("HOME", folder_.c_str(), 1);
    setenv("TMPDIR", "/tmp", 1);  // the sockets' paths have to be short
  }

  std::string Path(const std::string& name) const { return absl::StrCat(folder_, "/", name); }

  // As steps depend on it, the schedule too.
  std::vector<std::string> Arguments(const TestCluster& cluster, int steps,
                                     const std::string& output) const {
    return {RunfilePath("trainer/train"),
            absl::StrCat("--shards=", cluster.shards_flag()),
            absl::StrCat("--output=", output),
            absl::StrCat("--steps=", steps),
            "--batch=3",
            "--width=16",
            "--group-size=2",
            "--eval-every=7",
            "--seed=9",
            "--cache-mib=0",
            "--device=cpu"};
  }

  // The steps of the newest whole checkpoint.
  int CheckpointStep() const {
    int newest = 0;
    std::error_code error;
    for (fs::directory_iterator entry(Path("checkpoints"), error), end; !error && entry != end;
         entry.increment(error)) {
      int step = 0;
      const std::string name = entry->path().filename().string();
      if (absl::StartsWith(name, "step-") && absl::SimpleAtoi(name.substr(5), &step)) {
        newest = std::max(newest, step);
      }
    }
    return newest;
  }

  const std::string folder_;
};

// The processes that `pid` has started.
std::vector<pid_t> Children(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/task/", pid, "/children"));
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

TEST_F(TrainerKillTest, KillsLeaveNoTraceInTheAgents) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TestCluster> cluster, TestCluster::Start(2));
  ASSERT_OK(WriteTraces(*cluster));
  const int trials = Trials();
  const int steps = 3 * kStepsOfTrial * (trials + 1);
  ASSERT_OK_AND_ASSIGN(
      ChildProcess whole,
      ChildProcess::Start(Arguments(*cluster, steps, Path("whole.safetensors")), Path("log")));
  ASSERT_EQ(whole.Wait(), 0) << ReadFile(Path("log")).value_or("");
  std::vector<std::string> resumed = Arguments(*cluster, steps, Path("agents.safetensors"));
  resumed.insert(resumed.end(), {absl::StrCat("--checkpoint-dir=", Path("checkpoints")), "--resume",
                                 "--checkpoint-steps=2"});
  std::vector<std::string> two_ranks = resumed;
  two_ranks.insert(two_ranks.begin(), {"/usr/bin/mpirun", "-q", "--oversubscribe", "-np", "2"});

  std::mt19937 random(21);
  int kills = 0;
  int before_a_checkpoint = 0;
  while (kills < trials) {
    const bool mpi = random() % 3 == 0;
    const int begin = CheckpointStep();
    ASSERT_OK_AND_ASSIGN(ChildProcess trainer,
                         ChildProcess::Start(mpi ? two_ranks : resumed, Path("log")));
    // Now and then before it has done anything; else while it does some step.
    const int wanted = begin + static_cast<int>(random() % (2 * kStepsOfTrial));
    const absl::Time deadline = absl::Now() + absl::Seconds(120);
    while (CheckpointStep() < wanted && !trainer.Ended().has_value() && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    absl::SleepFor(absl::Microseconds(random() % 40000));
    if (trainer.Ended().has_value()) break;
    if (mpi) {
      // A rank dies, and takes the others with it.
      const std::vector<pid_t> ranks = Children(trainer.pid());
      if (ranks.empty()) {
        trainer.Signal(SIGKILL);
      } else {
        kill(ranks[random() % ranks.size()], SIGKILL);
        trainer.Wait();
      }
    } else {
      trainer.Signal(SIGKILL);
    }
    ++kills;
    before_a_checkpoint += CheckpointStep() == begin;
  }
  EXPECT_EQ(kills, trials) << "it ended before: " << ReadFile(Path("log")).value_or("");
  EXPECT_LT(CheckpointStep(), steps);
  ASSERT_OK_AND_ASSIGN(ChildProcess last, ChildProcess::Start(resumed, Path("log")));
  ASSERT_EQ(last.Wait(), 0) << ReadFile(Path("log")).value_or("");
  ASSERT_OK_AND_ASSIGN(const std::string expected, ReadFile(Path("whole.safetensors")));
  ASSERT_OK_AND_ASSIGN(const std::string agents, ReadFile(Path("agents.safetensors")));
  EXPECT_TRUE(agents == expected);
  std::cout << "kills of the trainer: " << kills << " kills in " << steps << " steps, "
            << before_a_checkpoint << " before a checkpoint, agents "
            << (agents == expected ? "the same" : "others") << std::endl;
}

}  // namespace
}  // namespace kvp

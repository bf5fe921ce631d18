// Collectors that are killed at any moment and started again: the store ends up with what it would
// hold had nothing happened.

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "storage/head_block.h"
#include "storage/test_cluster.h"
#include "storage/trace_reader.h"
#include "tests/run_command.h"
#include "util/file.h"
#include "util/status_macros.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

constexpr int kPrompts = 600;
constexpr int kWorkers = 2;
constexpr int kKills = 14;
constexpr absl::Duration kPatience = absl::Minutes(2);

class CollectorKillTest : public testing::Test {
 protected:
  void SetUp() override {
    model_ = testing::TempDir() + "/kill_model";
    TinyModelOptions tiny;
    tiny.config = {{"eos_token_id", nullptr}};
    ASSERT_OK(WriteTinyModel(model_, tiny));
    std::string prompts;
    for (int i = 0; i < kPrompts; ++i) {
      absl::StrAppend(&prompts, "{\"prompt\": \"This is prompt number ", i, ", of some length.\"");
      if (i % 3 > 0) absl::StrAppend(&prompts, ", \"answer\": \" And answer ", i * i, ".\"");
      absl::StrAppend(&prompts, "}\n");
    }
    prompts_ = testing::TempDir() + "/prompts.jsonl";
    ASSERT_OK(WriteFileAtomically(prompts_, {prompts}));
  }

  pid_t StartWorker(const TestCluster& cluster, int worker) {
    std::vector<std::string> arguments = {RunfilePath("collector/collect"),
                                          "--model",
                                          model_,
                                          "--prompts",
                                          prompts_,
                                          "--shards",
                                          cluster.shards_flag(),
                                          "--cuts=3",
                                          "--block-tokens=16",
                                          "--max-new-tokens=4",
                                          absl::StrCat("--worker-index=", worker),
                                          absl::StrCat("--worker-count=", kWorkers)};
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_t child = -1;
    EXPECT_EQ(posix_spawn(&child, argv[0], nullptr, nullptr, argv.data(), environ), 0);
    return child;
  }

  // The exit status; 128 + signal where a signal ended it.
  static int Wait(pid_t child) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  static std::unique_ptr<TraceReader> Reader(const TestCluster& cluster) {
    TraceReader::Options options;
    options.shards = cluster.addresses();
    auto reader = TraceReader::Connect(options);
    EXPECT_OK(reader);
    return *std::move(reader);
  }

  static size_t Committed(TraceReader& reader) {
    const auto records = reader.ListTraces("");
    return records.ok() ? records->size() : 0;
  }

  // Everything that the store gives its readers, by key.
  static std::map<std::string, std::string> Contents(TraceReader& reader) {
    std::map<std::string, std::string> contents;
    const auto records = reader.ListTraces("");
    EXPECT_OK(records);
    for (const TraceRecord& record : *records) {
      EXPECT_TRUE(contents.emplace(record.trace_id(), record.SerializeAsString()).second);
    }
    for (int32_t layer = 0; layer < 2; ++layer) {
      for (int32_t head = 0; head < 2; ++head) {
        EXPECT_OK(reader.ReadHead({layer, head}, "", [&](HeadBlock block) {
          EXPECT_TRUE(
              contents.emplace(HeadBlockKeyText(block.key), *EncodeHeadBlock(block)).second);
          return absl::OkStatus();
        }));
      }
    }
    return contents;
  }

  std::string model_;
  std::string prompts_;
};

TEST_F(CollectorKillTest, KilledAtAnyMomentAndRestartedTheyLoseAndDuplicateNothing) {
  ASSERT_OK_AND_ASSIGN(const auto disturbed, TestCluster::Start(/*shards=*/2));
  const std::unique_ptr<TraceReader> reader = Reader(*disturbed);
  std::mt19937 random(20240607);
  const auto below = [&](int bound) { return static_cast<int>(random() % bound); };
  pid_t workers[kWorkers];
  for (int i = 0; i < kWorkers; ++i) workers[i] = StartWorker(*disturbed, i);
  int in_the_middle = 0;
  for (int kill_number = 0; kill_number < kKills; ++kill_number) {
    const int victim = kill_number % kWorkers;
    const size_t before = Committed(*reader);
    if (kill_number % 4 == 3) {
      // Anywhere, also while it starts.
      absl::SleepFor(absl::Milliseconds(below(400)));
    } else {
      // While traces are made and sent.
      const size_t wanted = before + 1 + below(kPrompts / 40);
      const absl::Time deadline = absl::Now() + kPatience;
      while (Committed(*reader) < wanted && absl::Now() < deadline) {
        absl::SleepFor(absl::Milliseconds(5));
      }
      absl::SleepFor(absl::Microseconds(below(20'000)));
    }
    ASSERT_EQ(kill(workers[victim], SIGKILL), 0);
    ASSERT_EQ(Wait(workers[victim]), 128 + SIGKILL) << "it was done before it could be killed";
    const size_t committed = Committed(*reader);
    if (committed > before && committed < kPrompts) ++in_the_middle;
    workers[victim] = StartWorker(*disturbed, victim);
  }
  for (const pid_t worker : workers) ASSERT_EQ(Wait(worker), 0);
  EXPECT_GE(in_the_middle, 10);

  ASSERT_OK_AND_ASSIGN(const auto undisturbed, TestCluster::Start(/*shards=*/2));
  for (int i = 0; i < kWorkers; ++i) ASSERT_EQ(Wait(StartWorker(*undisturbed, i)), 0);
  const std::map<std::string, std::string> found = Contents(*reader);
  const std::map<std::string, std::string> expected = Contents(*Reader(*undisturbed));
  EXPECT_EQ(Committed(*reader), kPrompts);
  EXPECT_EQ(found.size(), expected.size());
  EXPECT_TRUE(found == expected) << "the stores differ";
}

}  // namespace
}  // namespace kvp

// A collector is killed (SIGKILL) at random moments, in front of two shards: a trace may have
// reached one of them alone, or both in part. Started again, it ends what it had begun.

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/test_cluster.h"
#include "tests/fault/child_process.h"
#include "tests/fault/fault_traces.h"
#include "tests/fault/shard_process.h"
#include "tests/run_command.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

TEST(WriterKillTest, KillsLoseNothingAcknowledgedAndShowNothingUncommitted) {
  const std::string folder = testing::TempDir() + "/writer_kill";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TestCluster> cluster, TestCluster::Start(2));
  const std::string journal = folder + "/journal";
  std::mt19937 random(12);
  Ledger ledger;
  Findings findings;
  uint32_t first = 1;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    // It goes over the last ones again, which must change nothing.
    ASSERT_OK_AND_ASSIGN(ChildProcess writer,
                         ChildProcess::Start({RunfilePath("tests/fault/fault_writer"),
                                              absl::StrCat("--shards=", cluster->shards_flag()),
                                              absl::StrCat("--first=", first > 3 ? first - 3 : 1),
                                              absl::StrCat("--journal=", journal)},
                                             folder + "/log"));
    const size_t acknowledged = ledger.acknowledged().size();
    if (trial % 4 != 0) {
      // While it writes for certain.
      const absl::Time deadline = absl::Now() + absl::Seconds(60);
      while (ledger.acknowledged().size() == acknowledged && absl::Now() < deadline) {
        absl::SleepFor(absl::Milliseconds(1));
        ASSERT_OK(ReadJournal(journal, &ledger));
      }
    }
    absl::SleepFor(absl::Milliseconds(random() % 100));
    ASSERT_EQ(writer.Ended(), std::nullopt) << "see " << folder << "/log";
    writer.Signal(SIGKILL);
    ASSERT_OK(ReadJournal(journal, &ledger));
    findings.Add(CheckShards(cluster->addresses(), ledger, first));
    ASSERT_TRUE(findings.ok()) << "trial " << trial << ": " << findings.Text();
    const std::set<uint32_t> done = ledger.acknowledged();
    while (done.count(first) > 0) ++first;
  }
  findings.Add(CheckShards(cluster->addresses(), ledger));
  EXPECT_TRUE(findings.ok()) << findings.Text();
  EXPECT_GT(ledger.acknowledged().size(), static_cast<size_t>(trials / 2));
  // A dead collector's last messages may come behind the question of the next one, no more.
  const double again =
      cluster->Counted(0, "duplicate_bytes_total") + cluster->Counted(1, "duplicate_bytes_total");
  std::cout << Summary("kills of the collector", trials, ledger.acknowledged().size(), findings)
            << "; " << again << " bytes sent again that were durable" << std::endl;
}

}  // namespace
}  // namespace kvp

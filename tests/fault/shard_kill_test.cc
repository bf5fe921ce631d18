// The shard is killed (SIGKILL) at random moments while collectors write: in the middle of batches,
// of sorted files, of commits, of its own recovery.

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <random>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault/fault_traces.h"
#include "tests/fault/shard_process.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

// The first trace that hasn't been looked at as a whole, given that all before `first` were.
uint32_t FirstUnchecked(const Ledger& ledger, uint32_t first) {
  const std::set<uint32_t> acknowledged = ledger.acknowledged();
  while (acknowledged.count(first) > 0) ++first;
  return first;
}

TEST(ShardKillTest, KillsLoseNothingAcknowledgedAndShowNothingUncommitted) {
  const std::string folder = testing::TempDir() + "/shard_kill";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  ShardProcess::Options options;
  options.dir = folder + "/shard";
  // Small batches go through the log, large ones become files.
  options.flags = {"--sorted-file-kib=32", "--write-buffer-mib=1", "--metrics-port=0"};
  ShardProcess shard(options);
  ASSERT_OK(shard.Start());
  Ledger ledger;
  WriterThreads writers(FaultWriterOptions({shard.address()}), 3, &ledger);

  std::mt19937 random(11);
  const auto sleep_up_to = [&random](int milliseconds) {
    absl::SleepFor(absl::Milliseconds(random() % (milliseconds + 1)));
  };
  Findings findings;
  // Sent though the shard had them.
  double bytes_again = 0;
  uint32_t first = 1;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    if (trial % 4 != 0) {
      // Under load for certain: the writers have come back.
      const size_t acknowledged = ledger.acknowledged().size();
      const absl::Time deadline = absl::Now() + absl::Seconds(60);
      while (ledger.acknowledged().size() == acknowledged && absl::Now() < deadline) {
        absl::SleepFor(absl::Milliseconds(1));
      }
    }
    sleep_up_to(200);
    ASSERT_OK_AND_ASSIGN(const double again, shard.Series("kvp_shard_duplicate_bytes_total"));
    bytes_again += again;
    shard.Kill();
    if (trial % 4 == 3) {
      // Again, while it starts.
      ASSERT_OK(shard.Launch());
      sleep_up_to(100);
      shard.Kill();
      ++trial;
    }
    ASSERT_OK(shard.Start());
    const uint32_t next = FirstUnchecked(ledger, first);
    findings.Add(CheckShards({shard.address()}, ledger, first));
    ASSERT_TRUE(findings.ok()) << "trial " << trial << ": " << findings.Text();
    first = next;
  }
  ASSERT_OK(writers.Stop());
  EXPECT_EQ(ledger.begun(), ledger.acknowledged());
  findings.Add(CheckShards({shard.address()}, ledger));
  EXPECT_EQ(shard.Terminate(), 0);
  // From the folder, too.
  findings.Add(CheckShards({options.dir}, ledger));
  EXPECT_TRUE(findings.ok()) << findings.Text();
  EXPECT_GT(ledger.acknowledged().size(), static_cast<size_t>(trials));
  EXPECT_EQ(bytes_again, 0);
  std::cout << Summary("kills of the shard", trials, ledger.acknowledged().size(), findings) << "; "
            << bytes_again << " bytes sent again that were durable" << std::endl;
}

}  // namespace
}  // namespace kvp

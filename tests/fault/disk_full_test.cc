// The disk runs full, really: the shard's folder is a small file system in memory. Collectors wait
// and nothing is lost, also when the shard is killed then and finds no space to start.

#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault/fault_traces.h"
#include "tests/fault/namespaces.h"
#include "tests/fault/shard_process.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

constexpr int kSmallMib = 6;
// RocksDB goes on by itself once as much is free as it holds in memory, 64 MiB.
constexpr int kEnoughMib = 80;
// Without anything acknowledged.
constexpr absl::Duration kFullAfter = absl::Seconds(2);

class DiskFullTest : public testing::Test {
 protected:
  // Leaves this much free on the disk; whatever is on it stays.
  void SetFree(int mib, bool first = false) {
    const std::filesystem::space_info space = std::filesystem::space(disk_);
    const uintmax_t used = first ? 0 : space.capacity - space.free;
    const std::string size = absl::StrCat("size=", used + (uintmax_t{1} << 20) * mib);
    ASSERT_EQ(mount("tmpfs", disk_.c_str(), "tmpfs", first ? 0 : MS_REMOUNT, size.c_str()), 0)
        << std::strerror(errno);
  }

  // Waits until nothing is acknowledged any more: a write that doesn't fit leaves some space.
  static void WaitUntilFull(const Ledger& ledger) {
    const absl::Time deadline = absl::Now() + absl::Minutes(2);
    absl::Time last_progress = absl::Now();
    for (size_t before = 0; absl::Now() < last_progress + kFullAfter;) {
      ASSERT_LT(absl::Now(), deadline) << "it never gets full";
      absl::SleepFor(absl::Milliseconds(5));
      const size_t acknowledged = ledger.acknowledged().size();
      if (acknowledged != before) last_progress = absl::Now();
      before = acknowledged;
    }
  }

  std::string disk_;
};

TEST_F(DiskFullTest, CollectorsWaitAndNothingIsLost) {
  if (const absl::Status status = EnterNamespaces(); !status.ok()) {
    GTEST_SKIP() << status.message();
  }
  disk_ = testing::TempDir() + "/disk";
  std::filesystem::create_directories(disk_);
  SetFree(kSmallMib, true);
  ShardProcess::Options options;
  options.dir = disk_ + "/shard";
  options.flags = {"--sorted-file-kib=32"};
  options.log_dir = testing::TempDir();
  ShardProcess shard(options);
  ASSERT_OK(shard.Start());
  Ledger ledger;
  WriterThreads writers(FaultWriterOptions({shard.address()}), 3, &ledger);
  Findings findings;
  int refused_to_start = 0;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    ASSERT_NO_FATAL_FAILURE(WaitUntilFull(ledger));
    // It serves readers all the same.
    findings.Add(CheckShards({shard.address()}, ledger));
    if (trial % 3 != 0) {
      shard.Kill();
      ASSERT_OK(shard.Launch());
      const absl::Status ready = shard.WaitUntilReady();
      if (!ready.ok()) {
        EXPECT_THAT(ready, StatusIs(absl::StatusCode::kUnavailable,
                                    testing::HasSubstr("No space left on device")));
        ++refused_to_start;
      }
    }
    SetFree(kEnoughMib);
    if (shard.process()->Ended().has_value()) {
      ASSERT_OK(shard.Start());
    }
    ASSERT_EQ(shard.process()->Ended(), std::nullopt);
    const size_t acknowledged = ledger.acknowledged().size();
    const absl::Time deadline = absl::Now() + absl::Minutes(1);
    while (ledger.acknowledged().size() == acknowledged) {
      ASSERT_LT(absl::Now(), deadline) << "trial " << trial << ": it doesn't go on";
      absl::SleepFor(absl::Milliseconds(5));
    }
    if (trial + 1 < trials) SetFree(kSmallMib);
    ASSERT_TRUE(findings.ok()) << "trial " << trial << ": " << findings.Text();
  }
  SetFree(kEnoughMib);
  ASSERT_OK(writers.Stop());
  EXPECT_EQ(ledger.begun(), ledger.acknowledged());
  findings.Add(CheckShards({shard.address()}, ledger));
  EXPECT_EQ(shard.Terminate(), 0);
  findings.Add(CheckShards({options.dir}, ledger));
  EXPECT_TRUE(findings.ok()) << findings.Text();
  std::cout << Summary("full disks", trials, ledger.acknowledged().size(), findings) << "; "
            << refused_to_start << " starts refused for want of space" << std::endl;
}

}  // namespace
}  // namespace kvp

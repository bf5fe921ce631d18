// A shard's folder is read while its server writes, flushes and compacts: every reader sees the
// shard as it was at one moment, whole.

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/test_traces.h"
#include "storage/trace_reader.h"
#include "tests/fault/fault_traces.h"
#include "tests/fault/shard_process.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

TEST(SnapshotTest, AFolderIsReadAsItWasAtOneMoment) {
  const std::string folder = testing::TempDir() + "/snapshot";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  ShardProcess::Options options;
  options.dir = folder + "/shard";
  // The log is written to tables all the time.
  options.flags = {"--sorted-file-kib=64", "--write-buffer-mib=1"};
  ShardProcess shard(options);
  ASSERT_OK(shard.Start());
  Ledger ledger;
  WriterThreads writers(FaultWriterOptions({shard.address()}), 3, &ledger);
  Findings findings;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    Ledger before;
    for (const uint32_t number : ledger.acknowledged()) before.Acknowledge(number);
    TraceReader::Options reader_options;
    reader_options.shards = {options.dir};
    const auto reader = TraceReader::Connect(reader_options);
    ASSERT_OK(reader) << "trial " << trial;
    // What had begun by then may be there, but nothing else.
    for (const uint32_t number : ledger.begun()) before.Begin(number);
    const size_t done = before.acknowledged().size();
    findings.Add(CheckStore(ViewOf(**reader), before, done > 30 ? done - 30 : 1));
    ASSERT_TRUE(findings.ok()) << "trial " << trial << ": " << findings.Text();
  }
  ASSERT_OK(writers.Stop());
  findings.Add(CheckShards({options.dir}, ledger));
  EXPECT_TRUE(findings.ok()) << findings.Text();
  std::cout << Summary("readers of a folder", trials, ledger.acknowledged().size(), findings)
            << std::endl;
}

}  // namespace
}  // namespace kvp

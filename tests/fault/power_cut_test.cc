// The power goes, an operation of the disk fails, the disk runs full: at every operation of a
// shard in turn. What was acknowledged is there afterwards, and nothing else.

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "storage/key_encoding.h"
#include "storage/shard.h"
#include "storage/test_traces.h"
#include "tests/fault/fault_file_system.h"
#include "tests/fault/fault_traces.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using rocksdb::IOStatus;
using ::testing::HasSubstr;

// A shard on a faulty disk, and what was done with it.
class FaultyShardTest : public testing::Test {
 protected:
  // An empty folder, no shard.
  void Begin(uint32_t seed) {
    shard_.reset();
    random_.seed(seed);
    dir_ = absl::StrCat(testing::TempDir(), "/",
                        testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    disk_ = std::make_shared<FaultFileSystem>(dir_);
    env_ = rocksdb::NewCompositeEnv(disk_);
    ledger_ = std::make_unique<Ledger>();
    stored_.clear();
    next_ = 1;
  }

  absl::Status Open() {
    Shard::Options options;
    options.dir = dir_;
    // Traces of both ways to the disk, and files of several of them.
    options.sorted_file_bytes = 20'000;
    options.write_buffer_bytes = 1 << 20;
    options.env = env_.get();
    ASSIGN_OR_RETURN(shard_, Shard::Open(options));
    return shard_->Hello(TestModel(), 0, 1).status();
  }

  // As Write, for as long as the shard clears up after a full disk: RocksDB looks every 5 seconds.
  bool WriteAfterAFullDisk(uint32_t number) {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (!Write(number, true)) {
      if (!absl::IsResourceExhausted(last_error_) || absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return true;
  }

  // Puts the trace's blocks and, with `commit`, makes it visible. False on any refusal.
  bool Write(uint32_t number, bool commit) {
    std::vector<std::string> encoded;
    for (const HeadBlock& block : FaultBlocks(number)) {
      encoded.push_back(EncodeHeadBlock(block).value());
    }
    // Two batches.
    for (size_t half = 0; half < 2; ++half) {
      std::vector<HeadBlockView> views;
      for (size_t i = half; i < encoded.size(); i += 2) {
        views.push_back(ParseHeadBlock(encoded[i]).value());
      }
      for (const absl::Status& status : shard_->PutBlocks(views)) {
        if (status.ok()) continue;
        last_error_ = status;
        return false;
      }
    }
    stored_.insert(number);
    return !commit || Commit(number);
  }

  bool Commit(uint32_t number) {
    TraceRecord record = FaultRecord(number);
    record.set_blocks(static_cast<int32_t>(FaultBlocks(number).size()));
    ledger_->Begin(number);
    if (const absl::Status status = shard_->Commit({record})[0]; !status.ok()) {
      last_error_ = status;
      return false;
    }
    ledger_->Acknowledge(number);
    stored_.erase(number);
    return true;
  }

  // Some traces, one of them without a commit, and a reopening. Goes on over refusals; whether
  // there were none.
  bool Work() {
    bool good = true;
    for (int step = 0; step < 10; ++step) {
      if (step == 6) {
        shard_.reset();
        if (const absl::Status status = Open(); !status.ok()) {
          last_error_ = status;
          return false;
        }
      }
      const uint32_t number = next_++;
      good &= Write(number, step != 3);
    }
    return good;
  }

  // How many operations of the disk it is.
  int64_t MeasureWork() {
    Begin(1);
    EXPECT_OK(Open());
    const int64_t begin = disk_->operations();
    EXPECT_TRUE(Work());
    std::cout << "a trial is " << disk_->operations() - begin << " operations of the disk"
              << std::endl;
    return disk_->operations() - begin;
  }

  // What is in the shard's index and what is in its files must be the same.
  void CheckNothingIsLeftOver(Findings* findings) {
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const char* name : {"default", "blocks", "index", "records"})
      families.push_back({name, {}});
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status =
        rocksdb::DB::OpenForReadOnly(rocksdb::DBOptions(), dir_, families, &handles, &opened);
    if (!status.ok()) {
      findings->problems.push_back(status.ToString());
      return;
    }
    const std::unique_ptr<rocksdb::DB> db(opened);
    std::set<std::string> stored, indexed;
    std::unique_ptr<rocksdb::Iterator> it(db->NewIterator({}, handles[1]));
    for (it->SeekToFirst(); it->Valid(); it->Next()) stored.insert(it->key().ToString());
    it.reset(db->NewIterator({}, handles[2]));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      const HeadBlockKey key = DecodeIndexKey(it->key().ToString()).value();
      const IndexEntry entry = DecodeIndexEntry(it->value().ToString()).value();
      indexed.insert(EncodeBlockKey({entry.epoch, key}));
    }
    it.reset();
    for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
    if (stored == indexed) return;
    const auto count_only_in = [](const std::set<std::string>& a, const std::set<std::string>& b) {
      return std::count_if(a.begin(), a.end(), [&b](const auto& key) { return b.count(key) == 0; });
    };
    findings->problems.push_back(
        absl::StrCat(count_only_in(stored, indexed), " blocks without an entry, ",
                     count_only_in(indexed, stored), " entries without a block"));
  }

  // After reopening: what was acknowledged is there, blocks without a commit too.
  void CheckReopened(Findings* findings) {
    findings->Add(CheckStore(ViewOf(*shard_), *ledger_));
    shard_.reset();
    CheckNothingIsLeftOver(findings);
    if (const absl::Status status = Open(); !status.ok()) {
      findings->problems.push_back(absl::StrCat("opening again: ", status.ToString()));
      return;
    }
    const std::set<uint32_t> stored = stored_;
    for (const uint32_t number : stored) {
      if (Commit(number)) continue;
      ++findings->lost;
      findings->problems.push_back(absl::StrCat("acknowledged blocks of trace ", number));
    }
  }

  std::string dir_;
  std::shared_ptr<FaultFileSystem> disk_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<Ledger> ledger_;
  // Traces of which all blocks were acknowledged, but no commit.
  std::set<uint32_t> stored_;
  uint32_t next_ = 1;
  absl::Status last_error_;
  std::mt19937 random_;
};

TEST_F(FaultyShardTest, PowerCutsLoseNothingAcknowledged) {
  const int64_t length = MeasureWork();
  Findings findings;
  int64_t acknowledged = 0;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    // A folder lives through five cuts.
    if (trial % 5 == 0) {
      Begin(static_cast<uint32_t>(trial));
      if (trial % 10 == 0) {
        ASSERT_OK(Open());
      }
    }
    // Spread over the operations, so that every one has its turn; some are in the recovery.
    disk_->CutPowerAt(disk_->operations() + 1 + (int64_t{trial} * 7919) % length);
    if (shard_ != nullptr || Open().ok()) Work();
    shard_.reset();
    ASSERT_OK(disk_->RestorePower(random_));
    const absl::Status status = Open();
    if (!status.ok()) findings.problems.push_back(absl::StrCat("reopening: ", status.ToString()));
    if (status.ok()) CheckReopened(&findings);
    ASSERT_TRUE(findings.ok()) << "trial " << trial << ": " << findings.Text();
    if (trial % 5 == 4) acknowledged += ledger_->acknowledged().size();
  }
  std::cout << Summary("power cuts", trials, acknowledged, findings) << std::endl;
}

// An operation finds no space; the shard goes on once there is some.
TEST_F(FaultyShardTest, FullDisksLoseNothingAcknowledged) {
  const int64_t length = MeasureWork();
  Findings findings;
  int64_t acknowledged = 0;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    Begin(static_cast<uint32_t>(trial));
    ASSERT_OK(Open());
    if (trial % 2 == 0) {
      disk_->FailAt(disk_->operations() + 1 + (int64_t{trial} * 7919) % length,
                    IOStatus::NoSpace("injected"));
    } else {
      disk_->SetCapacity(disk_->used_bytes() + (int64_t{trial} * 7919) % 300'000);
    }
    Work();
    disk_->SetCapacity(INT64_MAX);
    disk_->FailAt(INT64_MAX, IOStatus::OK());
    if (shard_ == nullptr) {
      // It was being opened when the disk was full.
      ASSERT_OK(Open()) << "trial " << trial;
    }
    findings.Add(CheckStore(ViewOf(*shard_), *ledger_));
    if (!WriteAfterAFullDisk(next_++)) {
      findings.problems.push_back(absl::StrCat("it doesn't go on: ", last_error_.ToString()));
    }
    shard_.reset();
    if (trial % 3 == 0) {
      ASSERT_OK(disk_->RestorePower(random_));
    }
    ASSERT_OK(Open()) << "trial " << trial;
    CheckReopened(&findings);
    ASSERT_TRUE(findings.ok()) << "trial " << trial << ": " << findings.Text();
    ASSERT_TRUE(Write(next_++, true)) << "trial " << trial << ": " << last_error_;
    acknowledged += ledger_->acknowledged().size();
  }
  std::cout << Summary("full disks", trials, acknowledged, findings) << std::endl;
}

// An operation fails for good reason. The shard may refuse to go on, and to open, but not lose
// anything in silence.
TEST_F(FaultyShardTest, FailuresOfTheDiskLoseNothingAcknowledged) {
  const int64_t length = MeasureWork();
  Findings findings;
  int64_t acknowledged = 0;
  int refused = 0;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    Begin(static_cast<uint32_t>(trial));
    ASSERT_OK(Open());
    disk_->FailAt(disk_->operations() + 1 + (int64_t{trial} * 7919) % length,
                  IOStatus::IOError("injected"));
    Work();
    if (shard_ != nullptr) findings.Add(CheckStore(ViewOf(*shard_), *ledger_));
    shard_.reset();
    disk_->FailAt(INT64_MAX, IOStatus::OK());
    if (trial % 3 == 0) {
      ASSERT_OK(disk_->RestorePower(random_));
    }
    acknowledged += ledger_->acknowledged().size();
    if (const absl::Status status = Open(); !status.ok()) {
      // RocksDB 7.8 deletes a file that it couldn't add, though the manifest may name it.
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(dir_)));
      ++refused;
      continue;
    }
    CheckReopened(&findings);
    ASSERT_TRUE(findings.ok()) << "trial " << trial << ": " << findings.Text();
    ASSERT_TRUE(Write(next_++, true)) << "trial " << trial << ": " << last_error_;
  }
  EXPECT_LE(refused, trials / 4);
  std::cout << Summary("failures of the disk", trials, acknowledged, findings) << ", " << refused
            << " refused to open" << std::endl;
}

}  // namespace
}  // namespace kvp

// A bit of a file flips, in every kind of file and in every part of it: the shard refuses to open,
// naming the file, or serves the rest and reports the blocks that are damaged. It never gives other
// bytes than were written, nor fewer blocks without a word.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/inspection.h"
#include "storage/shard.h"
#include "storage/test_traces.h"
#include "tests/fault/fault_traces.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kTraces = 6;

// What came of one flip, from good to bad.
enum class Outcome { kNoHarm, kRefused, kReadError, kReported, kSilent };

class FlippedBytesTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = absl::StrCat(
        testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
    original_ = folder + "/original";
    damaged_ = folder + "/damaged";
    fs::remove_all(folder);
    fs::create_directories(original_);
    for (uint32_t number = 1; number <= kTraces; ++number) {
      for (const HeadBlock& block : FaultBlocks(number)) {
        blocks_[block.key.head.Index(2)].emplace_back(HeadBlockKeyText(block.key),
                                                      EncodeHeadBlock(block).value());
      }
    }
  }

  absl::StatusOr<std::unique_ptr<Shard>> Open(const std::string& dir) {
    Shard::Options options;
    options.dir = dir;
    options.sorted_file_bytes = 20'000;
    return Shard::Open(options);
  }

  // Writes the traces: some through the log, some as sorted files.
  void Write(Shard& shard) {
    for (uint32_t number = 1; number <= kTraces; ++number) {
      std::vector<std::string> encoded;
      for (const HeadBlock& block : FaultBlocks(number)) {
        encoded.push_back(EncodeHeadBlock(block).value());
      }
      std::vector<HeadBlockView> views;
      for (const std::string& bytes : encoded) views.push_back(ParseHeadBlock(bytes).value());
      ASSERT_THAT(shard.PutBlocks(views), testing::Each(IsOk()));
      TraceRecord record = FaultRecord(number);
      record.set_blocks(static_cast<int32_t>(views.size()));
      ASSERT_OK(shard.Commit({record})[0]);
    }
  }

  // What a kill would leave: a copy of the files of a shard that is open.
  static void CopyFolder(const std::string& from, const std::string& to) {
    fs::remove_all(to);
    fs::create_directories(to);
    for (const auto& file : fs::directory_iterator(from)) {
      const std::string name = file.path().filename().string();
      if (name == "LOCK" || absl::StartsWith(name, "LOG")) continue;
      fs::copy_file(file.path(), to + "/" + name);
    }
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& file : fs::directory_iterator(original_)) {
      if (fs::file_size(file.path()) > 0) names.push_back(file.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // "sst", "log", "MANIFEST", …
  static std::string KindOf(const std::string& name) {
    const size_t dot = name.rfind('.');
    if (dot != std::string::npos) return name.substr(dot + 1);
    return name.substr(0, name.find('-'));
  }

  Outcome Flip(const std::string& name, size_t offset, int bit, std::string* text) {
    CopyFolder(original_, damaged_);
    {
      std::fstream file(damaged_ + "/" + name, std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(static_cast<std::streamoff>(offset));
      const char byte = static_cast<char>(file.get() ^ (1 << bit));
      file.seekp(static_cast<std::streamoff>(offset));
      file.put(byte);
    }
    // As `kvp inspect --verify` does, before a server touches the files.
    const absl::StatusOr<Inspection> inspected = InspectShard(damaged_, /*verify=*/true);
    const Outcome outcome = Serve(text);
    if (absl::EndsWith(name, ".log")) {
      const bool alarmed = !inspected.ok() || inspected->corrupt_blocks > 0;
      EXPECT_EQ(alarmed, outcome != Outcome::kNoHarm)
          << name << ", bit " << bit << " of byte " << offset << ": " << *text;
    }
    return outcome;
  }

  // What a server would make of the damaged folder.
  Outcome Serve(std::string* text) {
    const absl::StatusOr<std::unique_ptr<Shard>> shard = Open(damaged_);
    if (!shard.ok()) {
      *text = shard.status().ToString();
      return Outcome::kRefused;
    }
    return Look(**shard, text);
  }

  Outcome Look(const Shard& shard, std::string* text) {
    Outcome outcome = Outcome::kNoHarm;
    std::vector<uint32_t> numbers;
    const absl::Status listed = shard.List("", [&](const TraceRecord& record) {
      numbers.push_back(FaultNumber(TraceIdFromBytes(record.trace_id()).value()));
      TraceRecord expected = FaultRecord(numbers.back());
      expected.set_blocks(record.blocks());
      EXPECT_EQ(record.SerializeAsString(), expected.SerializeAsString());
      return absl::OkStatus();
    });
    if (!listed.ok()) {
      *text = listed.ToString();
      outcome = Outcome::kReadError;
    } else if (numbers.size() != kTraces) {
      *text = absl::StrCat(numbers.size(), " traces listed");
      return Outcome::kSilent;
    }
    for (const auto& [index, expected] : blocks_) {
      std::vector<std::pair<std::string, std::string>> seen;
      const absl::Status scanned = shard.ScanHead(
          HeadId::FromIndex(index, 2), {},
          [&](const HeadBlockKey& key, const absl::StatusOr<absl::string_view>& encoded) {
            std::string bytes = "damaged";
            if (!encoded.ok()) {
              *text = encoded.status().ToString();
            } else if (const auto block = ParseHeadBlock(*encoded); !block.ok()) {
              *text = block.status().ToString();
            } else if (HeadBlockKeyText(block->key) == HeadBlockKeyText(key)) {
              bytes = std::string(*encoded);
            }
            seen.emplace_back(HeadBlockKeyText(key), std::move(bytes));
            return absl::OkStatus();
          });
      if (!scanned.ok()) {
        *text = scanned.ToString();
        outcome = Outcome::kReadError;
        continue;
      }
      if (seen.size() != expected.size()) {
        *text = absl::StrCat(seen.size(), " blocks of ", expected.size());
        return Outcome::kSilent;
      }
      for (size_t i = 0; i < seen.size(); ++i) {
        if (seen[i] == expected[i]) continue;
        if (seen[i].first != expected[i].first || seen[i].second != "damaged") {
          *text = "other bytes";
          return Outcome::kSilent;
        }
        outcome = std::max(outcome, Outcome::kReported);
      }
    }
    return outcome;
  }

  // Whether an error names the file, or as much of it as RocksDB knows.
  static bool Names(const std::string& text, const std::string& name) {
    if (absl::StrContains(text, name)) return true;
    // It points to a manifest that isn't there.
    if (name == "CURRENT") return absl::StrContains(text, "MANIFEST-");
    // Two files that no longer agree.
    if (absl::StartsWith(name, "MANIFEST")) return absl::StrContains(text, "/commits");
    return absl::EndsWith(name, ".sst") && absl::StrContains(text, "An external sst file");
  }

  // Flips bits of every file of the folder.
  void FlipAll() {
    std::map<std::string, std::map<Outcome, int>> outcomes;
    std::mt19937 random(7);
    int flips = 0;
    int silent = 0;
    for (const std::string& name : Files()) {
      const size_t size = fs::file_size(original_ + "/" + name);
      for (int trial = 0; trial < Trials(); ++trial) {
        // Half of them in the last kilobyte, where tables have what describes them.
        const size_t from = trial % 2 == 1 && size > 1024 ? size - 1024 : 0;
        const size_t offset = std::uniform_int_distribution<size_t>(from, size - 1)(random);
        const int bit = static_cast<int>(random() % 8);
        std::string text;
        const Outcome outcome = Flip(name, offset, bit, &text);
        ++flips;
        ++outcomes[KindOf(name)][outcome];
        const std::string where =
            absl::StrCat(name, " of ", size, " bytes, bit ", bit, " of byte ", offset, ": ", text);
        if (outcome == Outcome::kSilent) {
          ++silent;
          ADD_FAILURE() << where;
        }
        if (outcome == Outcome::kRefused || outcome == Outcome::kReadError) {
          EXPECT_TRUE(Names(text, name)) << where;
        }
      }
    }
    for (auto& [kind, counts] : outcomes) {
      std::cout << "  " << kind << ": " << counts[Outcome::kNoHarm] << " without harm, "
                << counts[Outcome::kReported] << " blocks reported, " << counts[Outcome::kReadError]
                << " failed reads, " << counts[Outcome::kRefused] << " refused to open\n";
    }
    std::cout << "flipped bits: " << flips << " trials, " << silent
              << " with a loss or wrong bytes without a word" << std::endl;
  }

  std::string original_;
  std::string damaged_;
  // By head, in order: name and encoded bytes.
  std::map<int64_t, std::vector<std::pair<std::string, std::string>>> blocks_;
};

// All of the small batches are in the log.
TEST_F(FlippedBytesTest, AfterAKill) {
  const std::string live = original_ + "_live";
  fs::create_directories(live);
  ASSERT_OK_AND_ASSIGN(const auto shard, Open(live));
  ASSERT_OK(shard->Hello(TestModel(), 0, 1));
  Write(*shard);
  CopyFolder(live, original_);
  FlipAll();
}

// All is in tables.
TEST_F(FlippedBytesTest, AfterARestart) {
  const std::string live = original_ + "_live";
  fs::create_directories(live);
  {
    ASSERT_OK_AND_ASSIGN(const auto shard, Open(live));
    ASSERT_OK(shard->Hello(TestModel(), 0, 1));
    Write(*shard);
  }
  ASSERT_OK(Open(live));
  CopyFolder(live, original_);
  FlipAll();
}

}  // namespace
}  // namespace kvp

// A shard that was written when format version 2 was new, and is read as it was written.

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/head_block.h"
#include "storage/shard.h"
#include "storage/test_traces.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

class GoldenShardTest : public testing::Test {
 protected:
  // Opens a copy of it.
  absl::StatusOr<std::unique_ptr<Shard>> Open(bool read_only) {
    const std::filesystem::path source =
        absl::StrCat(std::getenv("TEST_SRCDIR"), "/", std::getenv("TEST_WORKSPACE"),
                     "/storage/testdata/shard_format_2");
    dir_ = absl::StrCat(testing::TempDir(), "/golden", read_only ? "_read_only" : "");
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    for (const auto& entry : std::filesystem::directory_iterator(source)) {
      const std::filesystem::path copy = std::filesystem::path(dir_) / entry.path().filename();
      std::filesystem::copy_file(std::filesystem::canonical(entry.path()), copy);
      std::filesystem::permissions(copy, std::filesystem::perms::owner_write,
                                   std::filesystem::perm_options::add);
    }
    Shard::Options options;
    options.dir = dir_;
    options.read_only = read_only;
    options.sweep_older_than = absl::InfiniteDuration();
    return Shard::Open(options);
  }

  static void ExpectContents(const Shard& shard) {
    std::vector<std::string> records, expected_records;
    ASSERT_OK(shard.List("", [&](TraceRecord record) {
      records.push_back(record.SerializeAsString());
      return absl::OkStatus();
    }));
    for (const uint32_t number : {1, 2}) {
      TraceRecord record = TestRecord(number, 10, "train");
      record.set_blocks(18);
      expected_records.push_back(record.SerializeAsString());
    }
    EXPECT_EQ(records, expected_records);
    for (int64_t index = 0; index < 6; ++index) {
      const HeadId head = HeadId::FromIndex(index, 2);
      std::vector<std::string> blocks, expected;
      ASSERT_OK(shard.ScanHead(
          head, {}, [&](const HeadBlockKey&, const absl::StatusOr<absl::string_view>& encoded) {
            EXPECT_OK(encoded);
            blocks.emplace_back(encoded.value_or(""));
            return absl::OkStatus();
          }));
      for (const uint32_t number : {1, 2}) {
        for (const HeadBlock& block : TestBlocks(number, 10, 4)) {
          if (block.key.head == head) expected.push_back(EncodeHeadBlock(block).value());
        }
      }
      EXPECT_EQ(blocks, expected) << "head " << index;
    }
  }

  std::string dir_;
};

TEST_F(GoldenShardTest, IsReadAsItWasWritten) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Shard> shard, Open(/*read_only=*/true));
  EXPECT_EQ(shard->identity()->format_version(), 2);
  EXPECT_EQ(shard->identity()->model().SerializeAsString(), TestModel().SerializeAsString());
  ExpectContents(*shard);
}

TEST_F(GoldenShardTest, IsWrittenOn) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Shard> shard, Open(/*read_only=*/false));
  ExpectContents(*shard);
  ASSERT_OK_AND_ASSIGN(const HeldBlocks held, shard->Held(TestTraceId(3), 1 << 20));
  EXPECT_EQ(held.heads_size(), 6);
  TraceRecord record = TestRecord(3, 10, "train");
  record.set_blocks(18);
  EXPECT_OK(shard->Commit({record})[0]);
}

}  // namespace
}  // namespace kvp

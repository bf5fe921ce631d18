#include "storage/shard.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "storage/key_encoding.h"
#include "storage/test_traces.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A shard of all of TestModel's heads in a folder of its own.
class ShardTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.dir = absl::StrCat(testing::TempDir(), "/",
                                testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(options_.dir);
    std::filesystem::create_directories(options_.dir);
    Open();
    ASSERT_OK(shard_->Hello(TestModel(), 0, 1));
  }

  void Open() {
    shard_.reset();
    absl::StatusOr<std::unique_ptr<Shard>> shard = Shard::Open(options_);
    ASSERT_OK(shard);
    shard_ = *std::move(shard);
  }

  std::vector<absl::Status> Put(const std::vector<HeadBlock>& blocks) {
    std::vector<std::string> encoded;
    for (const HeadBlock& block : blocks) encoded.push_back(EncodeHeadBlock(block).value());
    std::vector<HeadBlockView> views;
    for (const std::string& bytes : encoded) views.push_back(ParseHeadBlock(bytes).value());
    return shard_->PutBlocks(views);
  }

  absl::Status Commit(TraceRecord record, int32_t blocks) {
    record.set_blocks(blocks);
    return shard_->Commit({record})[0];
  }

  // Puts and commits trace `number`.
  void Write(uint32_t number, int32_t tokens, int32_t block_tokens, const std::string& split) {
    const std::vector<HeadBlock> blocks = TestBlocks(number, tokens, block_tokens);
    ASSERT_THAT(Put(blocks), Each(IsOk()));
    ASSERT_OK(Commit(TestRecord(number, tokens, split), static_cast<int32_t>(blocks.size())));
  }

  // "trace/block" of what a scan of the head gives, with "!" where it can't be read.
  std::vector<std::string> Scan(HeadId head, const std::string& split,
                                const std::optional<HeadBlockKey>& after = std::nullopt) {
    std::vector<std::string> seen;
    Shard::ScanOptions options;
    options.split = split;
    options.after = after;
    const absl::Status status = shard_->ScanHead(
        head, options,
        [&](const HeadBlockKey& key, const absl::StatusOr<absl::string_view>& encoded) {
          EXPECT_TRUE(key.head == head);
          const bool good = encoded.ok() && ParseHeadBlock(*encoded).ok();
          seen.push_back(absl::StrCat(key.trace_id[3], "/", key.block, good ? "" : "!"));
          return absl::OkStatus();
        });
    EXPECT_OK(status);
    return seen;
  }

  Shard::Options options_;
  std::unique_ptr<Shard> shard_;
};

TEST_F(ShardTest, CommittedTracesAreScannedInOrderAndUncommittedOnesNot) {
  Write(3, 10, 4, "train");
  Write(1, 10, 4, "held_out");
  Write(2, 4, 4, "train");
  ASSERT_THAT(Put(TestBlocks(9, 10, 4)), Each(IsOk()));
  EXPECT_THAT(Scan({1, 1}, ""), ElementsAre("1/0", "1/1", "1/2", "2/0", "3/0", "3/1", "3/2"));
  EXPECT_THAT(Scan({0, 0}, "train"), ElementsAre("2/0", "3/0", "3/1", "3/2"));
  HeadBlockKey after;
  after.trace_id = TestTraceId(2);
  after.block = 0;
  EXPECT_THAT(Scan({2, 0}, "", after), ElementsAre("3/0", "3/1", "3/2"));
  EXPECT_THAT(shard_->Committed({TestTraceId(1), TestTraceId(9), TestTraceId(3)}),
              ElementsAre(TestTraceId(1), TestTraceId(3)));
}

TEST_F(ShardTest, ScanGivesTheBytesThatWerePut) {
  Write(5, 10, 4, "train");
  size_t checked = 0;
  for (const HeadBlock& block : TestBlocks(5, 10, 4)) {
    ASSERT_OK(shard_->ScanHead(
        block.key.head, {},
        [&](const HeadBlockKey& key, const absl::StatusOr<absl::string_view>& encoded) {
          if (key.block != block.key.block) return absl::OkStatus();
          EXPECT_EQ(*encoded, EncodeHeadBlock(block).value());
          ++checked;
          return absl::OkStatus();
        }));
  }
  EXPECT_EQ(checked, 18u);
}

TEST_F(ShardTest, BlocksAndCommitsSentAgainChangeNothing) {
  Write(1, 10, 4, "train");
  Write(1, 10, 4, "train");
  ASSERT_OK_AND_ASSIGN(const Shard::Stats stats, shard_->GetStats());
  EXPECT_EQ(stats.committed_traces, 1);
  EXPECT_EQ(stats.blocks, 18);
  EXPECT_EQ(stats.head_tokens, 60);
  // Twice in one batch, too.
  std::vector<HeadBlock> twice = TestBlocks(2, 4, 4);
  const std::vector<HeadBlock> again = twice;
  twice.insert(twice.end(), again.begin(), again.end());
  EXPECT_THAT(Put(twice), Each(IsOk()));
  EXPECT_OK(Commit(TestRecord(2, 4, "train"), 6));
}

TEST_F(ShardTest, CommitWithAMissingBlockIsRefusedByName) {
  std::vector<HeadBlock> blocks = TestBlocks(1, 10, 4);
  const HeadBlock missing = blocks[4];
  blocks.erase(blocks.begin() + 4);
  ASSERT_THAT(Put(blocks), Each(IsOk()));
  EXPECT_THAT(Commit(TestRecord(1, 10, "train"), 17),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("layer 0 kv_head 1 trace 000000010000000000000000000000ff: "
                                 "block 1 from token 4 is missing")));
  EXPECT_THAT(Scan({0, 0}, ""), ElementsAre());
  ASSERT_THAT(Put({missing}), Each(IsOk()));
  EXPECT_THAT(Commit(TestRecord(1, 10, "train"), 17),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("blocks is 17")));
  EXPECT_OK(Commit(TestRecord(1, 10, "train"), 18));
}

TEST_F(ShardTest, LastBlockMissingIsRefused) {
  std::vector<HeadBlock> blocks = TestBlocks(1, 10, 4);
  blocks.pop_back();
  ASSERT_THAT(Put(blocks), Each(IsOk()));
  EXPECT_THAT(Commit(TestRecord(1, 10, "train"), 17),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has 8 tokens here")));
}

TEST_F(ShardTest, BlockThatContradictsWhatIsThereIsRefused) {
  ASSERT_THAT(Put(TestBlocks(1, 10, 4)), Each(IsOk()));
  EXPECT_THAT(Put({TestBlocks(1, 10, 5)[0]})[0],
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("already")));
  Write(2, 4, 4, "train");
  HeadBlock more = TestBlocks(2, 8, 4)[1];
  EXPECT_THAT(Put({more})[0],
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("committed without")));
}

TEST_F(ShardTest, EverythingIsThereAfterReopening) {
  Write(1, 10, 4, "train");
  ASSERT_THAT(Put(TestBlocks(2, 10, 4)), Each(IsOk()));
  Open();
  EXPECT_THAT(Scan({2, 1}, ""), ElementsAre("1/0", "1/1", "1/2"));
  // The young uncommitted trace is still there to be gone on with.
  EXPECT_OK(Commit(TestRecord(2, 10, "train"), 18));
  ASSERT_TRUE(shard_->identity().has_value());
  EXPECT_EQ(shard_->identity()->head_end(), 6);
}

TEST_F(ShardTest, SweepTakesOldUncommittedTracesOnly) {
  Write(1, 10, 4, "train");
  ASSERT_THAT(Put(TestBlocks(2, 10, 4)), Each(IsOk()));
  ASSERT_OK_AND_ASSIGN(const int64_t young, shard_->Sweep(absl::Hours(1)));
  EXPECT_EQ(young, 0);
  ASSERT_OK_AND_ASSIGN(const int64_t swept, shard_->Sweep(absl::ZeroDuration()));
  EXPECT_EQ(swept, 1);
  ASSERT_OK_AND_ASSIGN(const Shard::Stats stats, shard_->GetStats());
  EXPECT_EQ(stats.uncommitted_traces, 0);
  EXPECT_EQ(stats.blocks, 18);
  EXPECT_THAT(Commit(TestRecord(2, 10, "train"), 18),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has 0 tokens")));
}

TEST_F(ShardTest, SweepAtOpenFollowsTheOption) {
  ASSERT_THAT(Put(TestBlocks(2, 10, 4)), Each(IsOk()));
  options_.sweep_older_than = absl::ZeroDuration();
  Open();
  ASSERT_OK_AND_ASSIGN(const Shard::Stats stats, shard_->GetStats());
  EXPECT_EQ(stats.uncommitted_traces, 0);
}

TEST_F(ShardTest, AnotherModelOrPlaceIsRefusedByName) {
  ModelInfo model = TestModel();
  model.set_name("renamed");
  EXPECT_OK(shard_->Hello(model, 0, 1));
  model.set_layers(4);
  EXPECT_THAT(shard_->Hello(model, 0, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("model.layers is 4, but the shard holds traces with 3")));
  model = TestModel();
  model.set_fingerprint("other");
  EXPECT_THAT(shard_->Hello(model, 0, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("fingerprint")));
  model.set_fingerprint("");
  EXPECT_THAT(shard_->Hello(model, 0, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fingerprint")));
  EXPECT_THAT(shard_->Hello(TestModel(), 1, 2),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("shard 0 of 1")));
  shard_.reset();
  options_.shard_count = 2;
  EXPECT_THAT(Shard::Open(options_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("holds shard 0 of 1")));
}

TEST_F(ShardTest, SecondOpenOfTheSameFolderIsRefused) {
  EXPECT_THAT(Shard::Open(options_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr(options_.dir + ": another process has this shard open")));
}

TEST_F(ShardTest, ReadOnlySeesEverythingAndWritesNothing) {
  Write(1, 10, 4, "train");
  options_.read_only = true;
  // Beside the one that is open for writing.
  ASSERT_OK_AND_ASSIGN(shard_, Shard::Open(options_));
  EXPECT_THAT(Scan({2, 1}, ""), ElementsAre("1/0", "1/1", "1/2"));
  EXPECT_THAT(Put(TestBlocks(2, 4, 4)),
              Each(StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("read-only"))));
  options_.dir += "/nothing";
  EXPECT_THAT(Shard::Open(options_), StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing")));
}

TEST_F(ShardTest, DamagedBlockIsReportedAndTheOthersAreRead) {
  for (uint32_t number = 1; number <= 3; ++number) Write(number, 400, 400, "train");
  // Reopening writes the log's blocks to files.
  Open();
  shard_.reset();
  const std::string damaged = EncodeHeadBlock(TestBlocks(2, 400, 400)[3]).value();
  int flipped = 0;
  for (const auto& entry : std::filesystem::directory_iterator(options_.dir)) {
    if (entry.path().extension() != ".sst") continue;
    std::ifstream in(entry.path(), std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const size_t at = bytes.find(damaged);
    if (at == std::string::npos) continue;
    bytes[at + 1000] = static_cast<char>(bytes[at + 1000] ^ 4);
    std::ofstream(entry.path(), std::ios::binary) << bytes;
    ++flipped;
  }
  ASSERT_EQ(flipped, 1);
  Open();
  EXPECT_THAT(Scan({1, 1}, ""), ElementsAre("1/0", "2/0!", "3/0"));
  EXPECT_THAT(Scan({1, 0}, ""), ElementsAre("1/0", "2/0", "3/0"));
}

// The shard's database, for damage. The shard must be closed.
void ChangeDatabase(
    const std::string& dir,
    const std::function<void(rocksdb::DB*, const std::vector<rocksdb::ColumnFamilyHandle*>&)>&
        change) {
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const char* name : {"default", "blocks", "index", "records"}) families.push_back({name, {}});
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(rocksdb::DBOptions(), dir, families, &handles, &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  change(opened, handles);
  for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
}

TEST_F(ShardTest, EntriesThatAreGoneAreReported) {
  for (uint32_t number = 1; number <= 4; ++number) Write(number, 12, 4, "train");
  shard_.reset();
  ChangeDatabase(options_.dir, [](rocksdb::DB* db, const auto& handles) {
    const auto forget = [&](uint32_t number, int block) {
      ASSERT_TRUE(
          db->Delete({}, handles[2], EncodeIndexKey({{1, 0}, TestTraceId(number), block})).ok());
    };
    forget(2, 1);
    forget(3, 2);
    for (const int block : {0, 1, 2}) forget(4, block);
  });
  Open();
  EXPECT_THAT(Scan({1, 0}, ""),
              ElementsAre("1/0", "1/1", "1/2", "2/0", "2/1!", "2/2", "3/0", "3/1", "3/2!", "4/0!"));
  HeadBlockKey after;
  after.trace_id = TestTraceId(2);
  after.block = 1;
  EXPECT_THAT(Scan({1, 0}, "", after), ElementsAre("2/2", "3/0", "3/1", "3/2!", "4/0!"));
  after.trace_id = TestTraceId(3);
  after.block = INT32_MAX;
  EXPECT_THAT(Scan({1, 0}, "", after), ElementsAre("4/0!"));
  EXPECT_THAT(Scan({1, 1}, "", after), ElementsAre("4/0", "4/1", "4/2"));
}

TEST_F(ShardTest, CommittedTracesThatAreGoneAreRefusedByName) {
  for (uint32_t number = 1; number <= 3; ++number) Write(number, 10, 4, "train");
  shard_.reset();
  ChangeDatabase(options_.dir, [](rocksdb::DB* db, const auto& handles) {
    ASSERT_TRUE(db->Delete({}, handles[3], EncodeTraceId(TestTraceId(2))).ok());
  });
  for (const bool read_only : {true, false}) {
    options_.read_only = read_only;
    EXPECT_THAT(Shard::Open(options_), StatusIs(absl::StatusCode::kDataLoss,
                                                HasSubstr("1 committed traces are gone, the first "
                                                          "000000020000000000000000000000ff")));
  }
  // The way out.
  std::filesystem::remove(options_.dir + "/commits");
  Open();
  EXPECT_THAT(Scan({1, 1}, ""), ElementsAre("1/0", "1/1", "1/2", "3/0", "3/1", "3/2"));
}

TEST_F(ShardTest, RecordsThatMakeNoSenseAreRefusedByName) {
  ASSERT_THAT(Put(TestBlocks(1, 10, 4)), Each(IsOk()));
  const auto refused = [&](const std::string& field, const auto& change) {
    TraceRecord record = TestRecord(1, 10, "train");
    change(record);
    EXPECT_THAT(Commit(record, 18), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  refused("trace_id", [](TraceRecord& record) { record.set_trace_id("x"); });
  refused("model.head_dim", [](TraceRecord& record) { record.mutable_model()->set_head_dim(16); });
  refused("split", [](TraceRecord& record) { record.clear_split(); });
  refused("task", [](TraceRecord& record) { record.clear_task(); });
  refused("prompt_tokens", [](TraceRecord& record) { record.set_prompt_tokens(-1); });
  refused("token_ids", [](TraceRecord& record) { record.add_token_ids(1); });
  refused("entries", [](TraceRecord& record) { record.set_entries(11); });
  refused("cuts", [](TraceRecord& record) { record.set_cuts(1, 5); });
  refused("cuts", [](TraceRecord& record) { record.set_cuts(1, 11); });
  EXPECT_OK(Commit(TestRecord(1, 10, "train"), 18));
}

TEST_F(ShardTest, AnEmptyTraceIsCommittedButNotListed) {
  TraceRecord record = TestRecord(1, 10, "train");
  record.set_prompt_tokens(10);
  record.set_continuation_tokens(0);
  record.clear_cuts();
  record.set_entries(0);
  ASSERT_OK(Commit(record, 0));
  EXPECT_THAT(shard_->Committed({TestTraceId(1)}), ElementsAre(TestTraceId(1)));
  ASSERT_OK(shard_->List("", [](TraceRecord) { return absl::InternalError("listed"); }));
  ASSERT_OK_AND_ASSIGN(const Shard::Stats stats, shard_->GetStats());
  EXPECT_EQ(stats.empty_traces, 1);
  EXPECT_EQ(stats.committed_traces, 0);

  record = TestRecord(2, 10, "train");
  record.clear_cuts();
  record.set_entries(0);
  EXPECT_THAT(Commit(record, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("entries is 0")));
}

// Every batch becomes a sorted file.
class SortedShardTest : public ShardTest {
 protected:
  void SetUp() override {
    options_.sorted_file_bytes = 1;
    ShardTest::SetUp();
  }

  int64_t FilesWithSuffix(const std::string& suffix) const {
    int64_t count = 0;
    for (const auto& file : std::filesystem::directory_iterator(options_.dir)) {
      count += absl::EndsWith(file.path().filename().string(), suffix);
    }
    return count;
  }

  int64_t FilesWithPrefix(const std::string& prefix) const {
    int64_t count = 0;
    for (const auto& file : std::filesystem::directory_iterator(options_.dir)) {
      count += absl::StartsWith(file.path().filename().string(), prefix);
    }
    return count;
  }
};

TEST_F(SortedShardTest, BlocksAreThereAtOnceAndAfterReopening) {
  Write(3, 10, 4, "train");
  Write(1, 10, 4, "train");
  ASSERT_THAT(Put(TestBlocks(1, 10, 4)), Each(IsOk()));
  EXPECT_EQ(FilesWithPrefix("sorted-"), 0);
  for (int round = 0; round < 2; ++round) {
    EXPECT_THAT(Scan({1, 1}, ""), ElementsAre("1/0", "1/1", "1/2", "3/0", "3/1", "3/2"));
    Open();
  }
  ASSERT_OK_AND_ASSIGN(const Shard::Stats stats, shard_->GetStats());
  EXPECT_EQ(stats.blocks, 36);
}

TEST_F(SortedShardTest, SortedAndLoggedBatchesStandSideBySide) {
  for (int number = 1; number <= 6; ++number) {
    options_.sorted_file_bytes = number % 2 == 0 ? 1 : 1 << 30;
    Open();
    Write(number, 10, 4, "train");
  }
  EXPECT_THAT(Scan({0, 1}, ""),
              ElementsAre("1/0", "1/1", "1/2", "2/0", "2/1", "2/2", "3/0", "3/1", "3/2", "4/0",
                          "4/1", "4/2", "5/0", "5/1", "5/2", "6/0", "6/1", "6/2"));
}

// What a crash leaves between the file and its entries, and before.
TEST_F(SortedShardTest, OpeningRemovesWhatACrashLeft) {
  Write(1, 10, 4, "train");
  ASSERT_THAT(Put(TestBlocks(2, 10, 4)), Each(IsOk()));
  shard_.reset();
  ChangeDatabase(options_.dir, [](rocksdb::DB* db, const auto& handles) {
    for (const HeadBlock& block : TestBlocks(2, 10, 4)) {
      ASSERT_TRUE(db->Delete({}, handles[2], EncodeIndexKey(block.key)).ok());
    }
  });
  std::ofstream(options_.dir + "/sorted-00000000000000000009.sst") << "half a file";
  Open();
  EXPECT_EQ(FilesWithPrefix("sorted-"), 0);
  Write(2, 10, 4, "train");
  EXPECT_THAT(Scan({1, 1}, ""), ElementsAre("1/0", "1/1", "1/2", "2/0", "2/1", "2/2"));
  ASSERT_OK_AND_ASSIGN(const Shard::Stats stats, shard_->GetStats());
  EXPECT_EQ(stats.blocks, 36);
}

// Else compaction would write every byte again.
TEST_F(ShardTest, FilesOfLoggedBlocksDoNotInterleave) {
  options_.write_buffer_bytes = 1 << 20;
  Open();
  // 4 MB, with a sorted file now and then.
  for (uint32_t number = 1; number <= 40; ++number) {
    options_.sorted_file_bytes = number % 10 == 0 ? 1 : int64_t{1} << 30;
    if (number % 10 <= 1) Open();
    Write(number, 400, 100, "train");
  }
  shard_.reset();
  rocksdb::DB* opened = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  ASSERT_TRUE(rocksdb::DB::OpenForReadOnly(rocksdb::Options(), options_.dir,
                                           {{"default", {}}, {"blocks", {}}}, &handles, &opened)
                  .ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  std::vector<rocksdb::LiveFileMetaData> files;
  db->GetLiveFilesMetaData(&files);
  for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
  std::vector<std::pair<std::string, std::string>> ranges;
  for (const rocksdb::LiveFileMetaData& file : files) {
    if (file.column_family_name == "blocks") ranges.emplace_back(file.smallestkey, file.largestkey);
  }
  std::sort(ranges.begin(), ranges.end());
  ASSERT_GT(ranges.size(), 6u);
  for (size_t i = 1; i < ranges.size(); ++i) {
    EXPECT_LT(ranges[i - 1].second, ranges[i].first) << "files " << i - 1 << " and " << i;
  }
}

// A hard limit can't be raised again: in a process of its own.
TEST_F(SortedShardTest, MoreFilesThanTheProcessMayEverOpen) {
  Open();
  for (uint32_t number = 1; number <= 150; ++number) Write(number, 4, 4, "train");
  shard_.reset();
  EXPECT_GT(FilesWithSuffix(".sst"), 150);
  const auto with_few_files = [this] {
    const rlimit limit{100, 100};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(2);
    Open();
    Write(151, 4, 4, "train");
    _exit(Scan({1, 1}, "").size() == 151 ? 0 : 1);
  };
  EXPECT_EXIT(with_few_files(), testing::ExitedWithCode(0), "");
}

TEST_F(ShardTest, AnotherProgramsDatabaseIsLeftAlone) {
  const std::string dir = options_.dir + "_foreign";
  std::filesystem::remove_all(dir);
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, dir, &opened).ok());
  std::unique_ptr<rocksdb::DB> db(opened);
  ASSERT_TRUE(db->Put({}, "years", "of work").ok());
  db.reset();
  Shard::Options shard_options = options_;
  shard_options.dir = dir;
  EXPECT_THAT(Shard::Open(shard_options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no shard")));
  std::vector<std::string> families;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies(options, dir, &families).ok());
  EXPECT_THAT(families, ElementsAre("default"));
}

TEST_F(ShardTest, AnyShardThatNobodyHasOpenCanBeDropped) {
  Write(1, 4, 4, "train");
  EXPECT_THAT(Shard::Drop(options_.dir),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another process")));
  shard_.reset();
  // Damaged beyond opening.
  for (const auto& file : std::filesystem::directory_iterator(options_.dir)) {
    const std::string name = file.path().filename().string();
    if (absl::StartsWith(name, "MANIFEST")) std::filesystem::resize_file(file.path(), 10);
  }
  EXPECT_FALSE(Shard::Open(options_).ok());
  ASSERT_OK(Shard::Drop(options_.dir + "/"));
  EXPECT_FALSE(std::filesystem::exists(options_.dir));
  EXPECT_FALSE(std::filesystem::exists(options_.dir + ".dropped"));
  EXPECT_THAT(Shard::Drop(options_.dir),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(options_.dir)));
}

TEST_F(SortedShardTest, MoreFilesThanTheProcessMayOpenByDefault) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = 64;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  Open();
  for (uint32_t number = 1; number <= 60; ++number) Write(number, 4, 4, "train");
  limit.rlim_cur = 64;
  shard_.reset();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  Open();
  EXPECT_GT(FilesWithSuffix(".sst"), 60);
  EXPECT_EQ(Scan({1, 1}, "").size(), 60u);
  limit.rlim_cur = before;
  setrlimit(RLIMIT_NOFILE, &limit);
}

TEST_F(SortedShardTest, AFullShardRefusesBlocksAndKeepsWhatItHas) {
  Write(1, 40, 40, "train");
  options_.max_bytes = shard_->StoredBytes() + 100;
  Open();
  EXPECT_THAT(Put(TestBlocks(2, 40, 40)),
              Each(StatusIs(absl::StatusCode::kResourceExhausted,
                            HasSubstr(absl::StrCat("max_bytes=", options_.max_bytes)))));
  // What is there already is acknowledged all the same.
  EXPECT_THAT(Put(TestBlocks(1, 40, 40)), Each(IsOk()));
  EXPECT_THAT(Scan({1, 1}, ""), ElementsAre("1/0"));
  options_.max_bytes = 0;
  Open();
  Write(2, 40, 40, "train");
  EXPECT_THAT(Scan({1, 1}, ""), ElementsAre("1/0", "2/0"));
}

}  // namespace
}  // namespace kvp

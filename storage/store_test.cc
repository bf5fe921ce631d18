// Writer, shards and reader together, over gRPC, in one process.

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "storage/block_quantization.h"
#include "storage/key_encoding.h"
#include "storage/shard_server.h"
#include "storage/test_cluster.h"
#include "storage/test_traces.h"
#include "storage/trace_reader.h"
#include "storage/trace_writer.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kHeads = 6;

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<TestCluster>> cluster = TestCluster::Start(2);
    ASSERT_OK(cluster);
    cluster_ = *std::move(cluster);
  }

  TraceWriter::Options WriterOptions() {
    TraceWriter::Options options;
    options.shards = cluster_->addresses();
    options.model = TestModel();
    return options;
  }

  std::unique_ptr<TraceWriter> Writer() {
    absl::StatusOr<std::unique_ptr<TraceWriter>> writer = TraceWriter::Connect(WriterOptions());
    EXPECT_OK(writer);
    return *std::move(writer);
  }

  std::unique_ptr<TraceReader> Reader() {
    TraceReader::Options options;
    options.shards = cluster_->addresses();
    absl::StatusOr<std::unique_ptr<TraceReader>> reader = TraceReader::Connect(options);
    EXPECT_OK(reader);
    return *std::move(reader);
  }

  // The numbers of the traces listed.
  static std::vector<int> Listed(TraceReader& reader, const std::string& split) {
    const absl::StatusOr<std::vector<TraceRecord>> records = reader.ListTraces(split);
    EXPECT_OK(records);
    std::vector<int> numbers;
    for (const TraceRecord& record : *records) {
      numbers.push_back(static_cast<uint8_t>(record.trace_id()[3]));
    }
    return numbers;
  }

  static std::vector<HeadBlock> Read(TraceReader& reader, HeadId head, const std::string& split,
                                     TraceReader::ReadResult* result = nullptr) {
    std::vector<HeadBlock> blocks;
    const absl::StatusOr<TraceReader::ReadResult> read =
        reader.ReadHead(head, split, [&](HeadBlock block) {
          blocks.push_back(std::move(block));
          return absl::OkStatus();
        });
    EXPECT_OK(read);
    if (result != nullptr) *result = *read;
    return blocks;
  }

  // Checks that every head gives exactly the blocks of these traces, in order.
  static void ExpectTraces(TraceReader& reader, const std::vector<uint32_t>& numbers,
                           int32_t tokens, int32_t block_tokens) {
    for (int64_t index = 0; index < kHeads; ++index) {
      const HeadId head = HeadId::FromIndex(index, 2);
      const std::vector<HeadBlock> read = Read(reader, head, "");
      std::vector<HeadBlock> expected;
      for (const uint32_t number : numbers) {
        for (HeadBlock& block : TestBlocks(number, tokens, block_tokens)) {
          if (block.key.head == head) expected.push_back(std::move(block));
        }
      }
      ASSERT_EQ(read.size(), expected.size()) << "head " << index;
      for (size_t i = 0; i < read.size(); ++i) {
        EXPECT_TRUE(SameBlock(read[i], expected[i])) << HeadBlockKeyText(read[i].key);
      }
    }
  }

  std::unique_ptr<TestCluster> cluster_;
};

TEST_F(StoreTest, WhatIsWrittenIsReadByHeadInOrder) {
  const auto writer = Writer();
  ASSERT_OK(WriteTestTrace(*writer, 3, 100, 40, "train"));
  ASSERT_OK(WriteTestTrace(*writer, 1, 100, 40, "held_out"));
  ASSERT_OK(WriteTestTrace(*writer, 2, 100, 40, "train"));
  EXPECT_GT(writer->acknowledged_bytes(), 3 * kHeads * 100 * (4 * 8 + 2 * 2));
  // Each shard has its own heads.
  for (int shard = 0; shard < 2; ++shard) {
    ASSERT_OK_AND_ASSIGN(const Shard::Stats stats, cluster_->server(shard)->shard().GetStats());
    EXPECT_EQ(stats.head_tokens, 3 * 3 * 100);
    EXPECT_EQ(stats.uncommitted_traces, 0);
  }

  const auto reader = Reader();
  EXPECT_THAT(Listed(*reader, ""), ElementsAre(1, 2, 3));
  EXPECT_THAT(Listed(*reader, "train"), ElementsAre(2, 3));
  EXPECT_THAT(Listed(*reader, "nothing"), IsEmpty());
  ExpectTraces(*reader, {1, 2, 3}, 100, 40);
  TraceReader::ReadResult result;
  const std::vector<HeadBlock> held_out = Read(*reader, {2, 1}, "held_out", &result);
  ASSERT_EQ(held_out.size(), 3u);
  EXPECT_TRUE(SameBlock(held_out[2], TestBlocks(1, 100, 40)[17]));
  EXPECT_EQ(result.blocks, 3);
  EXPECT_EQ(result.corrupt_blocks, 0);
  EXPECT_EQ(result.bytes, 100 * (4 * 8 + 2 * 2) + 3 * 68);

  ASSERT_OK_AND_ASSIGN(const std::vector<TraceRecord> records, reader->ListTraces("held_out"));
  ASSERT_EQ(records.size(), 1u);
  TraceRecord expected = TestRecord(1, 100, "held_out");
  expected.set_blocks(18);
  EXPECT_EQ(records[0].SerializeAsString(), expected.SerializeAsString());
}

TEST_F(StoreTest, TracesSentAgainAreStoredOnce) {
  const auto first = Writer();
  ASSERT_OK(WriteTestTrace(*first, 1, 100, 40, "train"));
  const auto second = Writer();
  ASSERT_OK(WriteTestTrace(*second, 1, 100, 40, "train"));
  ASSERT_OK(WriteTestTrace(*first, 1, 100, 40, "train"));
  const auto reader = Reader();
  EXPECT_THAT(Listed(*reader, ""), ElementsAre(1));
  ExpectTraces(*reader, {1}, 100, 40);
  const std::vector<TraceId> asked = {TestTraceId(2), TestTraceId(1)};
  ASSERT_OK_AND_ASSIGN(const std::vector<TraceId> committed, second->Committed(asked));
  EXPECT_THAT(committed, ElementsAre(TestTraceId(1)));
}

TEST_F(StoreTest, TraceThatOneShardLacksIsInNoListAndNoHead) {
  const auto writer = Writer();
  ASSERT_OK(WriteTestTrace(*writer, 2, 40, 40, "train"));
  // Trace 1 gets to shard 0 alone.
  std::vector<std::string> encoded;
  std::vector<HeadBlockView> views;
  for (const HeadBlock& block : TestBlocks(1, 40, 40)) {
    if (block.key.head.Index(2) < 3) encoded.push_back(EncodeHeadBlock(block).value());
  }
  for (const std::string& bytes : encoded) views.push_back(ParseHeadBlock(bytes).value());
  Shard& shard = cluster_->server(0)->shard();
  ASSERT_THAT(shard.PutBlocks(views), testing::Each(IsOk()));
  TraceRecord record = TestRecord(1, 40, "train");
  record.set_blocks(3);
  ASSERT_OK(shard.Commit({record})[0]);

  const auto reader = Reader();
  EXPECT_THAT(Listed(*reader, ""), ElementsAre(2));
  ExpectTraces(*reader, {2}, 40, 40);
  const std::vector<TraceId> asked = {TestTraceId(1), TestTraceId(2)};
  ASSERT_OK_AND_ASSIGN(const std::vector<TraceId> committed, writer->Committed(asked));
  EXPECT_THAT(committed, ElementsAre(TestTraceId(2)));
}

TEST_F(StoreTest, UncommittedTraceIsInvisible) {
  {
    const auto writer = Writer();
    ASSERT_OK(WriteTestTrace(*writer, 1, 40, 40, "train"));
    for (const HeadBlock& block : TestBlocks(2, 40, 40)) ASSERT_OK(writer->Add(block));
  }
  const auto reader = Reader();
  EXPECT_THAT(Listed(*reader, ""), ElementsAre(1));
  ExpectTraces(*reader, {1}, 40, 40);
}

TEST_F(StoreTest, WriterGoesOnOverARestart) {
  const auto writer = Writer();
  ASSERT_OK(WriteTestTrace(*writer, 1, 100, 40, "train"));
  const std::vector<HeadBlock> blocks = TestBlocks(2, 100, 40);
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i == 4) cluster_->Stop(0);
    if (i == 12) cluster_->Stop(1);
    ASSERT_OK(writer->Add(blocks[i]));
  }
  ASSERT_OK(cluster_->Restart(1));
  ASSERT_OK(cluster_->Restart(0));
  ASSERT_OK(writer->Commit(TestRecord(2, 100, "train")));
  const auto reader = Reader();
  EXPECT_THAT(Listed(*reader, ""), ElementsAre(1, 2));
  ExpectTraces(*reader, {1, 2}, 100, 40);
}

TEST_F(StoreTest, AWriterThatStartsAnewSendsOnlyWhatTheShardsLack) {
  const std::vector<HeadBlock> blocks = TestBlocks(1, 100, 10);
  // The last one in the middle of a head.
  constexpr size_t kFirst = 35;
  int64_t first_bytes = 0;
  {
    const auto writer = Writer();
    for (size_t i = 0; i < kFirst; ++i) {
      ASSERT_OK(writer->Add(blocks[i]));
      first_bytes += static_cast<int64_t>(EncodeHeadBlock(blocks[i])->size());
    }
    while (writer->acknowledged_bytes() < first_bytes) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_EQ(writer->held_bytes(), 0);
  }
  ASSERT_OK(cluster_->Restart(1));
  const auto writer = Writer();
  ASSERT_OK(WriteTestTrace(*writer, 1, 100, 10, "train"));
  EXPECT_EQ(writer->held_bytes(), first_bytes);
  EXPECT_EQ(cluster_->Counted(0, "acknowledged_blocks_total") +
                cluster_->Counted(1, "acknowledged_blocks_total"),
            blocks.size());
  for (const int shard : {0, 1}) {
    EXPECT_EQ(cluster_->Counted(shard, "duplicate_blocks_total"), 0);
    EXPECT_EQ(cluster_->Counted(shard, "committed_traces_total"), 1);
  }
  ExpectTraces(*Reader(), {1}, 100, 10);
  // Once more, after the commit.
  ASSERT_OK(WriteTestTrace(*writer, 1, 100, 10, "train"));
  EXPECT_EQ(cluster_->Counted(0, "duplicate_blocks_total"), 0);
}

TEST_F(StoreTest, BlocksOfOtherSizesThanThoseHeldAreSentAndRefused) {
  {
    const auto writer = Writer();
    for (const HeadBlock& block : TestBlocks(1, 100, 10)) ASSERT_OK(writer->Add(block));
    while (cluster_->Counted(0, "acknowledged_blocks_total") < 30) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }
  EXPECT_THAT(WriteTestTrace(*Writer(), 1, 100, 20, "train"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("holds 10 tokens")));
  EXPECT_GT(cluster_->Counted(0, "refused_messages_total{reason=\"failed_precondition\"}"), 0);
}

TEST_F(StoreTest, ShardThatStaysAwayIsOneErrorWithItsAddressAndTheTraceCanBeSentAgain) {
  TraceWriter::Options options = WriterOptions();
  options.reconnect_deadline = absl::Seconds(1);
  ASSERT_OK_AND_ASSIGN(const auto writer, TraceWriter::Connect(options));
  cluster_->Stop(1);
  const absl::Time begin = absl::Now();
  EXPECT_THAT(WriteTestTrace(*writer, 1, 100, 40, "train"),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr(absl::StrCat("shard ", cluster_->addresses()[1]))));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(8));
  ASSERT_OK(cluster_->Restart(1));
  ASSERT_OK(WriteTestTrace(*writer, 1, 100, 40, "train"));
  ExpectTraces(*Reader(), {1}, 100, 40);
}

TEST_F(StoreTest, UnreachableShardIsOneErrorWithItsAddress) {
  const auto writer = Writer();
  cluster_->Stop(1);
  const std::string& address = cluster_->addresses()[1];
  TraceWriter::Options options = WriterOptions();
  options.reconnect_deadline = absl::Milliseconds(500);
  absl::Time begin = absl::Now();
  EXPECT_THAT(TraceWriter::Connect(options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
  TraceReader::Options reader_options;
  reader_options.shards = cluster_->addresses();
  reader_options.connect_deadline = absl::Milliseconds(500);
  EXPECT_THAT(TraceReader::Connect(reader_options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(8));
  reader_options.shards = {"localhost"};
  EXPECT_THAT(TraceReader::Connect(reader_options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"localhost\"")));
}

TEST_F(StoreTest, AnotherModelOrOrderIsRefused) {
  const auto writer = Writer();
  TraceWriter::Options options = WriterOptions();
  options.model.set_fingerprint("other");
  EXPECT_THAT(TraceWriter::Connect(options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("fingerprint")));
  options = WriterOptions();
  std::swap(options.shards[0], options.shards[1]);
  EXPECT_THAT(TraceWriter::Connect(options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("this is shard")));
  TraceReader::Options reader_options;
  reader_options.shards = {cluster_->addresses()[0]};
  EXPECT_THAT(TraceReader::Connect(reader_options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("one of 2 shards")));
  reader_options.shards = {cluster_->addresses()[0], cluster_->addresses()[0]};
  EXPECT_THAT(TraceReader::Connect(reader_options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is shard 0")));
}

TEST_F(StoreTest, WindowSmallerThanABlockStillMoves) {
  TraceWriter::Options options = WriterOptions();
  options.window_bytes = 2;
  ASSERT_OK_AND_ASSIGN(const auto writer, TraceWriter::Connect(options));
  ASSERT_OK(WriteTestTrace(*writer, 1, 100, 10, "train"));
  ExpectTraces(*Reader(), {1}, 100, 10);
}

TEST_F(StoreTest, Float8IsReadAsBf16AndQueriesComeBack) {
  const auto writer = Writer();
  std::vector<HeadBlock> expected;
  for (HeadBlock block : TestBlocks(1, 100, 40)) {
    block.query_heads = 2;
    block.queries = block.keys + block.values;
    ASSERT_OK_AND_ASSIGN(const HeadBlock quantized, QuantizeToFloat8(block));
    ASSERT_OK(writer->Add(quantized));
    ASSERT_OK_AND_ASSIGN(block, DequantizeToBf16(quantized));
    if (block.key.head == HeadId{2, 1}) expected.push_back(block);
  }
  TraceRecord record = TestRecord(1, 100, "train");
  record.set_kv_dtype(TraceRecord::FLOAT8);
  record.set_recorded_query_heads(2);
  ASSERT_OK(writer->Commit(record));
  TraceReader::ReadResult result;
  const std::vector<HeadBlock> read = Read(*Reader(), {2, 1}, "", &result);
  // As stored.
  EXPECT_EQ(result.bytes, 100 * (2 * 8 + 2 * 2 + 2 * 2 * 8) + 3 * (68 + 2 * 4 * 8));
  ASSERT_EQ(read.size(), expected.size());
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].kv_dtype, KvDtype::kBf16);
    EXPECT_TRUE(SameBlock(read[i], expected[i])) << HeadBlockKeyText(read[i].key);
  }
}

TEST_F(StoreTest, WritersMisuseIsRefusedByName) {
  const auto writer = Writer();
  HeadBlock block = TestBlocks(1, 40, 40)[0];
  block.key.head.layer = 3;
  EXPECT_THAT(writer->Add(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layer 3")));
  ASSERT_OK(writer->Add(TestBlocks(1, 40, 40)[0]));
  EXPECT_THAT(writer->Add(TestBlocks(2, 40, 40)[0]),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("isn't committed yet")));
  ASSERT_OK(writer->Add(TestBlocks(1, 40, 40)[0]));
  EXPECT_THAT(writer->Commit(TestRecord(1, 40, "train")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("shard 127.0.0.1"), HasSubstr("tokens here"))));
  EXPECT_OK(WriteTestTrace(*writer, 1, 40, 40, "train"));
}

TEST_F(StoreTest, DamagedAndLostBlocksAreSkippedAndCounted) {
  for (const uint32_t number : {1, 2, 3, 4}) {
    ASSERT_OK(WriteTestTrace(*Writer(), number, 40, 40, "train"));
  }
  cluster_->Stop(1);
  {
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const char* name : {"default", "blocks", "index", "records"}) {
      rocksdb::ColumnFamilyOptions options;
      options.enable_blob_files = std::string(name) == "blocks";
      families.emplace_back(name, options);
    }
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(
        rocksdb::DB::Open(rocksdb::DBOptions(), cluster_->dir(1), families, &handles, &opened)
            .ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    const HeadBlock damaged = TestBlocks(2, 40, 40)[4];
    std::string bytes = EncodeHeadBlock(damaged).value();
    bytes[100] = static_cast<char>(bytes[100] ^ 1);
    ASSERT_TRUE(db->Put({}, handles[1], EncodeBlockKey({1, damaged.key}), bytes).ok());
    const HeadBlock swapped = TestBlocks(3, 40, 40)[4];
    ASSERT_TRUE(db->Put({}, handles[1], EncodeBlockKey({1, swapped.key}),
                        EncodeHeadBlock(TestBlocks(1, 40, 40)[4]).value())
                    .ok());
    ASSERT_TRUE(db->Delete({}, handles[1], EncodeBlockKey({1, TestBlocks(4, 40, 40)[4].key})).ok());
    for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
  }
  ASSERT_OK(cluster_->Restart(1));
  const auto reader = Reader();
  TraceReader::ReadResult result;
  const std::vector<HeadBlock> blocks = Read(*reader, {2, 0}, "", &result);
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].key.trace_id, TestTraceId(1));
  EXPECT_EQ(result.blocks, 1);
  EXPECT_EQ(result.corrupt_blocks, 3);
  Read(*reader, {2, 1}, "", &result);
  EXPECT_EQ(result.blocks, 4);
  EXPECT_EQ(result.corrupt_blocks, 0);
}

TEST_F(StoreTest, ConsumersErrorEndsTheRead) {
  ASSERT_OK(WriteTestTrace(*Writer(), 1, 100, 10, "train"));
  const auto reader = Reader();
  int consumed = 0;
  const auto read = reader->ReadHead({0, 0}, "", [&](HeadBlock) {
    return ++consumed == 2 ? absl::AbortedError("enough") : absl::OkStatus();
  });
  EXPECT_THAT(read, StatusIs(absl::StatusCode::kAborted, HasSubstr("enough")));
  EXPECT_EQ(consumed, 2);
}

TEST_F(StoreTest, EmptyStoreListsNothingAndHasNoHeads) {
  const auto reader = Reader();
  EXPECT_THAT(Listed(*reader, ""), IsEmpty());
  const auto consume = [](HeadBlock) { return absl::OkStatus(); };
  EXPECT_THAT(reader->ReadHead({0, 0}, "", consume),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("layer 0 kv_head 0")));
  ASSERT_OK(WriteTestTrace(*Writer(), 1, 40, 40, "train"));
  EXPECT_OK(reader->ReadHead({0, 0}, "", consume));
  EXPECT_THAT(reader->ReadHead({3, 0}, "", consume),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("layer 3")));
}

TEST_F(StoreTest, ASeedShufflesTheTracesTheSameWayForEveryHead) {
  const auto writer = Writer();
  for (uint32_t number = 1; number <= 12; ++number) {
    ASSERT_OK(WriteTestTrace(*writer, number, 100, 40, "train"));
  }
  const auto reader = Reader();
  const auto order = [&](const TraceReader::HeadRead& read) {
    std::vector<int> numbers;
    int32_t next_block = 0;
    EXPECT_OK(reader->ReadHead(read, [&](HeadBlock block) {
      if (block.key.block == 0) {
        numbers.push_back(block.key.trace_id[3]);
        next_block = 0;
      }
      EXPECT_EQ(numbers.back(), block.key.trace_id[3]);
      EXPECT_EQ(block.key.block, next_block++);
      return absl::OkStatus();
    }));
    return numbers;
  };
  TraceReader::HeadRead read;
  read.order_seed = 5;
  const std::vector<int> shuffled = order(read);
  EXPECT_THAT(shuffled, SizeIs(12));
  EXPECT_FALSE(std::is_sorted(shuffled.begin(), shuffled.end()));
  // A head of the other shard.
  read.head = {2, 1};
  EXPECT_EQ(order(read), shuffled);
  read.after = TestTraceId(shuffled[4]);
  ASSERT_OK(WriteTestTrace(*writer, 13, 100, 40, "train"));
  std::vector<int> rest = order(read);
  rest.erase(std::remove(rest.begin(), rest.end(), 13), rest.end());
  EXPECT_EQ(rest, std::vector<int>(shuffled.begin() + 5, shuffled.end()));
}

TEST_F(StoreTest, NamedTracesAreReadInTheOrderInWhichTheyAreNamed) {
  const auto writer = Writer();
  for (uint32_t number = 1; number <= 9; ++number) {
    ASSERT_OK(WriteTestTrace(*writer, number, 100, 40, number < 9 ? "train" : "held_out"));
  }
  TraceReader::Options folders;
  folders.shards = {cluster_->dir(0), cluster_->dir(1)};
  ASSERT_OK_AND_ASSIGN(const auto local, TraceReader::Connect(folders));
  const auto remote = Reader();
  for (TraceReader* reader : {local.get(), remote.get()}) {
    TraceReader::HeadRead read;
    // A head of the second shard.
    read.head = {2, 1};
    for (const int number : {7, 2, 9, 4}) read.traces.push_back(TestTraceId(number));
    std::vector<int> numbers;
    ASSERT_OK(reader->ReadHead(read, [&](HeadBlock block) {
      if (block.key.block == 0) numbers.push_back(block.key.trace_id[3]);
      return absl::OkStatus();
    }));
    EXPECT_THAT(numbers, ElementsAre(7, 2, 9, 4));
  }
}

TEST_F(StoreTest, AFolderIsReadAsItsServerIs) {
  const auto writer = Writer();
  for (const uint32_t number : {2, 1}) {
    ASSERT_OK(WriteTestTrace(*writer, number, 100, 40, "train"));
  }
  TraceReader::Options options;
  options.shards = {cluster_->dir(0), cluster_->dir(1)};
  ASSERT_OK_AND_ASSIGN(const auto local, TraceReader::Connect(options));
  ExpectTraces(*local, {1, 2}, 100, 40);
  // What comes later is not seen.
  ASSERT_OK(WriteTestTrace(*writer, 3, 100, 40, "train"));
  ExpectTraces(*local, {1, 2}, 100, 40);
  EXPECT_THAT(Listed(*local, ""), ElementsAre(1, 2));
  options.shards = {cluster_->dir(1), cluster_->dir(0)};
  ASSERT_OK_AND_ASSIGN(const auto swapped, TraceReader::Connect(options));
  ExpectTraces(*swapped, {1, 2, 3}, 100, 40);
  options.shards = {cluster_->dir(0) + "/nowhere", cluster_->dir(1)};
  EXPECT_THAT(TraceReader::Connect(options),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere")));
}

// A writer in front of a full shard waits and loses nothing.
TEST_F(StoreTest, AWriterWaitsForRoom) {
  std::unique_ptr<ShardServer> server;
  ShardServer::Options options;
  options.shard.dir = testing::TempDir() + "/full";
  options.shard.max_bytes = 1;
  ASSERT_OK(MakeDirectories(options.shard.dir));
  ASSERT_OK_AND_ASSIGN(server, ShardServer::Start(options));
  options.listen = server->address();
  TraceWriter::Options writer_options;
  writer_options.shards = {server->address()};
  writer_options.model = TestModel();
  writer_options.reconnect_deadline = absl::Seconds(5);
  ASSERT_OK_AND_ASSIGN(const auto writer, TraceWriter::Connect(writer_options));
  absl::Notification written;
  std::thread thread([&] {
    EXPECT_OK(WriteTestTrace(*writer, 1, 100, 40, "train"));
    written.Notify();
  });
  // Longer than the deadline for a shard that is away: this one is only full.
  EXPECT_FALSE(written.WaitForNotificationWithTimeout(absl::Seconds(7)));
  EXPECT_EQ(server->shard().committed_traces(), 0);
  server.reset();
  options.shard.max_bytes = 0;
  ASSERT_OK_AND_ASSIGN(server, ShardServer::Start(options));
  thread.join();
  EXPECT_EQ(server->shard().committed_traces(), 1);
}

}  // namespace
}  // namespace kvp

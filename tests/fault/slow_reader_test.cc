// Readers that stop reading in the middle: the shard's memory stays bounded, and everyone else goes
// on.

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/read.grpc.pb.h"
#include "storage/channel.h"
#include "storage/test_traces.h"
#include "storage/trace_reader.h"
#include "storage/trace_writer.h"
#include "tests/fault/fault_traces.h"
#include "tests/fault/shard_process.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

// A head of them is 14 MB: much more than may be under way to a reader.
constexpr uint32_t kTraces = 24;
constexpr int32_t kBlockTokens = 4096;
constexpr int32_t kTokens = 4 * kBlockTokens;
constexpr int kReaders = 16;
// Of the shard, for each reader: its response, what is read ahead, a thread.
constexpr int64_t kBytesAReader = int64_t{5} << 20;
// What is written meanwhile fills up to three of them.
constexpr int64_t kWriteBufferMib = 4;

class SlowReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = testing::TempDir() + "/slow_reader";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    ShardProcess::Options options;
    options.dir = folder + "/shard";
    options.flags = {"--drain-deadline=2s", absl::StrCat("--write-buffer-mib=", kWriteBufferMib)};
    shard_ = std::make_unique<ShardProcess>(options);
    ASSERT_OK(shard_->Start());
    absl::StatusOr<std::unique_ptr<TraceWriter>> writer =
        TraceWriter::Connect(FaultWriterOptions({shard_->address()}));
    ASSERT_OK(writer);
    writer_ = *std::move(writer);
  }

  void Write(uint32_t number) {
    ASSERT_OK(WriteTestTrace(*writer_, number, kTokens, kBlockTokens, "train"));
  }

  std::unique_ptr<TraceReader> Reader() {
    TraceReader::Options options;
    options.shards = {shard_->address()};
    return TraceReader::Connect(options).value();
  }

  // Reads head 0 and checks the first `traces` traces.
  static void ReadAndCheck(TraceReader& reader, uint32_t traces,
                           const std::function<void()>& at_first_block = nullptr) {
    uint32_t number = 0;
    size_t seen = 0;
    std::vector<HeadBlock> expected;
    EXPECT_OK(reader.ReadHead({0, 0}, "", [&](HeadBlock block) {
      if (seen == 0 && at_first_block != nullptr) at_first_block();
      if (seen % 4 == 0) expected = TestBlocks(++number, kTokens, kBlockTokens);
      EXPECT_TRUE(SameBlock(block, expected[seen % 4])) << HeadBlockKeyText(block.key);
      ++seen;
      return absl::OkStatus();
    }));
    EXPECT_EQ(seen, 4 * traces);
  }

  std::unique_ptr<ShardProcess> shard_;
  std::unique_ptr<TraceWriter> writer_;
};

TEST_F(SlowReaderTest, MemoryStaysBoundedAndOthersGoOn) {
  for (uint32_t number = 1; number <= kTraces; ++number) Write(number);
  ReadAndCheck(*Reader(), kTraces);
  const int64_t before = shard_->process()->ResidentBytes();
  uint32_t traces = kTraces;
  int64_t most = 0;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    // Each on a connection of its own.
    std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
    std::vector<std::unique_ptr<TraceReading::Stub>> stubs;
    std::vector<std::unique_ptr<grpc::ClientReader<ReadHeadResponse>>> stalled;
    for (int i = 0; i < kReaders; ++i) {
      contexts.push_back(std::make_unique<grpc::ClientContext>());
      stubs.push_back(TraceReading::NewStub(MakeChannel(shard_->address(), {}).value()));
      ReadHeadRequest request;
      request.set_layer(i % 3);
      stalled.push_back(stubs.back()->ReadHead(contexts.back().get(), request));
      ReadHeadResponse response;
      ASSERT_TRUE(stalled.back()->Read(&response));
    }
    // One more shares its connection with a reader that goes on.
    const uint32_t at_begin = traces;
    const std::unique_ptr<TraceReader> reader = Reader();
    absl::Notification begun, stop;
    std::thread stops([&] {
      ReadAndCheck(*reader, at_begin, [&] {
        begun.Notify();
        stop.WaitForNotification();
      });
    });
    begun.WaitForNotification();
    Write(++traces);
    ReadAndCheck(*reader, traces);
    absl::SleepFor(absl::Milliseconds(300));
    most = std::max(most, shard_->process()->ResidentBytes() - before);
    stop.Notify();
    stops.join();
    // The others read on, too, what was there when they began.
    for (int i = 0; i < kReaders; ++i) {
      int64_t blocks = 0;
      ReadHeadResponse response;
      while (stalled[i]->Read(&response)) blocks += response.blocks_size();
      EXPECT_TRUE(stalled[i]->Finish().ok());
      EXPECT_GT(blocks, int64_t{at_begin - 1} * 4);
      EXPECT_LE(blocks, int64_t{at_begin} * 4);
    }
  }
  EXPECT_LT(most, kReaders * kBytesAReader + 3 * (kWriteBufferMib << 20));
  std::cout << "stalled readers: " << trials * kReaders << " trials, " << traces
            << " traces acknowledged; the shard grew by " << (most >> 20) << " MiB at most for "
            << kReaders << " readers" << std::endl;
}

TEST_F(SlowReaderTest, TheShardEndsAllTheSame) {
  for (uint32_t number = 1; number <= kTraces / 3; ++number) Write(number);
  const std::unique_ptr<TraceReading::Stub> stub =
      TraceReading::NewStub(MakeChannel(shard_->address(), {}).value());
  grpc::ClientContext context;
  const auto stalled = stub->ReadHead(&context, ReadHeadRequest());
  ReadHeadResponse response;
  ASSERT_TRUE(stalled->Read(&response));
  const absl::Time begin = absl::Now();
  EXPECT_EQ(shard_->Terminate(), 0);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(20));
  context.TryCancel();
}

}  // namespace
}  // namespace kvp

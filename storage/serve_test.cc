// The serve program as a process: ready, killed, restarted, ended.

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/test_traces.h"
#include "storage/trace_reader.h"
#include "storage/trace_writer.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

std::string Binary(const std::string& name) {
  return absl::StrCat(std::getenv("TEST_SRCDIR"), "/", std::getenv("TEST_WORKSPACE"), "/storage/",
                      name);
}

// A child process; killed when the test ends.
class Process {
 public:
  explicit Process(std::vector<std::string> arguments) {
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, argv[0], nullptr, nullptr, argv.data(), environ), 0);
  }
  ~Process() {
    if (pid_ > 0) SignalAndWait(SIGKILL);
  }

  // The status that waitpid gives.
  int SignalAndWait(int signal) {
    kill(pid_, signal);
    return Wait();
  }
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
};

class ServeTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/",
                           testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  // Starts the shard on the port of the last time, a free one the first time, and waits until it is
  // ready.
  void StartShard() {
    const std::string port_file = folder_ + "/port";
    std::filesystem::remove(port_file);
    shard_ = std::make_unique<Process>(
        std::vector<std::string>{Binary("serve"), "--dir", folder_ + "/shard", "--listen",
                                 absl::StrCat("127.0.0.1:", port_), "--port-file", port_file});
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (!std::filesystem::exists(port_file) && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(port_file));
    int port = 0;
    ASSERT_TRUE(absl::SimpleAtoi(text, &port)) << text;
    ASSERT_GT(port, 0);
    EXPECT_TRUE(port_ == 0 || port == port_) << port << " after " << port_;
    port_ = port;
  }

  std::unique_ptr<TraceWriter> Writer() {
    TraceWriter::Options options;
    options.shards = {absl::StrCat("127.0.0.1:", port_)};
    options.model = TestModel();
    absl::StatusOr<std::unique_ptr<TraceWriter>> writer = TraceWriter::Connect(options);
    EXPECT_OK(writer);
    return *std::move(writer);
  }

  std::unique_ptr<TraceReader> Reader() {
    TraceReader::Options options;
    options.shards = {absl::StrCat("127.0.0.1:", port_)};
    absl::StatusOr<std::unique_ptr<TraceReader>> reader = TraceReader::Connect(options);
    EXPECT_OK(reader);
    return *std::move(reader);
  }

  std::string folder_;
  int port_ = 0;
  std::unique_ptr<Process> shard_;
};

TEST_F(ServeTest, KilledInMidStreamItLosesNothingAcknowledgedAndShowsNothingUncommitted) {
  StartShard();
  const auto writer = Writer();
  constexpr uint32_t kTraces = 12;
  for (uint32_t number = 1; number <= kTraces; ++number) {
    const std::vector<HeadBlock> blocks = TestBlocks(number, 300, 50);
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (number % 4 == 2 && i == blocks.size() / 2) {
        // Of the blocks so far some, none or all may be acknowledged by now.
        shard_->SignalAndWait(SIGKILL);
        StartShard();
        // Whatever was committed before is there, and nothing of this trace.
        const auto reader = Reader();
        ASSERT_OK_AND_ASSIGN(const std::vector<TraceRecord> records, reader->ListTraces(""));
        ASSERT_EQ(records.size(), number - 1);
        ASSERT_OK_AND_ASSIGN(
            const TraceReader::ReadResult result,
            reader->ReadHead({0, 0}, "", [](HeadBlock) { return absl::OkStatus(); }));
        EXPECT_EQ(result.blocks, 6 * (number - 1));
      }
      ASSERT_OK(writer->Add(blocks[i]));
    }
    ASSERT_OK(writer->Commit(TestRecord(number, 300, "train")));
  }
  const auto reader = Reader();
  for (int64_t index = 0; index < 6; ++index) {
    const HeadId head = HeadId::FromIndex(index, 2);
    std::vector<HeadBlock> expected;
    for (uint32_t number = 1; number <= kTraces; ++number) {
      for (HeadBlock& block : TestBlocks(number, 300, 50)) {
        if (block.key.head == head) expected.push_back(std::move(block));
      }
    }
    size_t next = 0;
    ASSERT_OK_AND_ASSIGN(const TraceReader::ReadResult result,
                         reader->ReadHead(head, "", [&](HeadBlock block) {
                           if (next >= expected.size() || !SameBlock(block, expected[next])) {
                             return absl::DataLossError(HeadBlockKeyText(block.key));
                           }
                           ++next;
                           return absl::OkStatus();
                         }));
    EXPECT_EQ(next, expected.size());
    EXPECT_EQ(result.corrupt_blocks, 0);
  }
}

TEST_F(ServeTest, AcknowledgedBlocksOutliveAKillWithoutBeingSentAgain) {
  StartShard();
  const auto writer = Writer();
  const std::vector<HeadBlock> blocks = TestBlocks(1, 300, 50);
  for (const HeadBlock& block : blocks) ASSERT_OK(writer->Add(block));
  int64_t sent = 0;
  for (const HeadBlock& block : blocks) {
    ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeHeadBlock(block));
    sent += static_cast<int64_t>(encoded.size());
  }
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (writer->acknowledged_bytes() < sent && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  ASSERT_GE(writer->acknowledged_bytes(), sent);
  shard_->SignalAndWait(SIGKILL);
  StartShard();
  // The writer holds no block any more: the commit finds them all only if the shard kept them.
  EXPECT_OK(writer->Commit(TestRecord(1, 300, "train")));
}

TEST_F(ServeTest, TerminationDrainsAndExitsWithZeroThoughAWriterIsConnected) {
  for (const int signal : {SIGTERM, SIGINT}) {
    StartShard();
    const auto writer = Writer();
    ASSERT_OK(WriteTestTrace(*writer, static_cast<uint32_t>(signal), 40, 40, "train"));
    const absl::Time begin = absl::Now();
    const int status = shard_->SignalAndWait(signal);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_LT(absl::Now() - begin, absl::Seconds(9)) << "it waited for the deadline";
  }
}

TEST_F(ServeTest, WrongUsageExitsWithTwo) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--dir", folder_, "--listen", "0.0.0.0:0"},
      {"--dir", folder_, "--listen", "nonsense"},
      {"--listen", "127.0.0.1:0"},
      {"--dir", folder_, "--shard-index", "2", "--shard-count", "2"},
      {"--dir", folder_, "--unknown-flag"}};
  for (std::vector<std::string> arguments : wrong) {
    arguments.insert(arguments.begin(), Binary("serve"));
    const int status = Process(arguments).Wait();
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 2) << arguments[2];
  }
}

TEST_F(ServeTest, PortInUseIsAnError) {
  StartShard();
  Process second({Binary("serve"), "--dir", folder_ + "/second", "--listen",
                  absl::StrCat("127.0.0.1:", port_)});
  const int status = second.Wait();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

}  // namespace
}  // namespace kvp

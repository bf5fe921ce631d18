// The serve program as a process: ready, killed, restarted, ended.

#include <fcntl.h>
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
#include "util/metrics_testing.h"
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
  // Where there is a `log`, it is written anew with what the process says.
  explicit Process(std::vector<std::string> arguments, const std::string& log = "") {
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (!log.empty()) {
      posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(),
                                       O_WRONLY | O_CREAT | O_TRUNC, 0600);
    }
    EXPECT_EQ(posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
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
                                 absl::StrCat("127.0.0.1:", port_), "--port-file", port_file,
                                 "--metrics-port", "0"},
        folder_ + "/log");
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

  // A series of the shard's metrics, as Prometheus gets it.
  double Series(const std::string& name) {
    const std::string log = ReadFile(folder_ + "/log").value_or("");
    const std::string before = "metrics on http://127.0.0.1:";
    const size_t found = log.find(before);
    EXPECT_NE(found, std::string::npos) << log;
    const std::string text = HttpGet(std::atoi(log.c_str() + found + before.size()), "/metrics");
    const absl::StatusOr<double> value = SeriesValue(text, name);
    EXPECT_OK(value);
    return value.value_or(-1);
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

TEST_F(ServeTest, AfterAKillInMidTraceNothingDurableIsSentAgain) {
  StartShard();
  const std::vector<HeadBlock> blocks = TestBlocks(1, 3000, 10);
  int64_t all = 0;
  for (const HeadBlock& block : blocks) {
    all += static_cast<int64_t>(EncodeHeadBlock(block)->size());
  }
  int64_t held = 0;
  {
    // Killed with the shard: what it knew is lost.
    const auto writer = Writer();
    for (size_t i = 0; i < blocks.size() / 2; ++i) ASSERT_OK(writer->Add(blocks[i]));
    while (writer->acknowledged_bytes() < all / 4) absl::SleepFor(absl::Milliseconds(1));
    held = writer->acknowledged_bytes();
    shard_->SignalAndWait(SIGKILL);
  }
  StartShard();
  const auto writer = Writer();
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i == blocks.size() * 3 / 4) {
      // And once more, under a writer that goes on.
      shard_->SignalAndWait(SIGKILL);
      StartShard();
    }
    ASSERT_OK(writer->Add(blocks[i]));
  }
  ASSERT_OK(writer->Commit(TestRecord(1, 3000, "train")));
  EXPECT_GE(writer->held_bytes(), held);
  EXPECT_LT(writer->held_bytes(), all);
  EXPECT_EQ(writer->acknowledged_bytes(), all);
  EXPECT_EQ(Series("kvp_shard_duplicate_bytes_total"), 0);
  EXPECT_EQ(Series("kvp_shard_committed_traces_total"), 1);
}

TEST_F(ServeTest, MetricsSayWhatTheShardDid) {
  StartShard();
  {
    const auto writer = Writer();
    for (const uint32_t number : {1, 2}) {
      ASSERT_OK(WriteTestTrace(*writer, number, 40, 20, "train"));
    }
    TraceRecord record = TestRecord(3, 40, "train");
    EXPECT_FALSE(writer->Commit(record).ok());
  }
  ASSERT_OK(Reader()->ReadHead({1, 1}, "", [](HeadBlock) { return absl::OkStatus(); }));
  int64_t bytes = 0;
  for (const HeadBlock& block : TestBlocks(1, 40, 20)) {
    bytes += static_cast<int64_t>(EncodeHeadBlock(block)->size());
  }
  EXPECT_EQ(Series("kvp_shard_acknowledged_blocks_total"), 2 * 12);
  EXPECT_EQ(Series("kvp_shard_acknowledged_bytes_total"), 2 * bytes);
  EXPECT_EQ(Series("kvp_shard_committed_traces_total"), 2);
  EXPECT_EQ(Series("kvp_shard_traces"), 2);
  EXPECT_EQ(Series("kvp_shard_refused_messages_total{reason=\"failed_precondition\"}"), 1);
  EXPECT_EQ(Series("kvp_shard_refused_messages_total{reason=\"invalid_argument\"}"), 0);
  EXPECT_EQ(Series("kvp_shard_queue_bytes"), 0);
  EXPECT_EQ(Series("kvp_shard_unacknowledged_bytes"), 0);
  EXPECT_GE(Series("kvp_shard_write_seconds_count{of=\"blocks\"}"), 1);
  EXPECT_EQ(Series("kvp_shard_write_seconds_count{of=\"commits\"}"), 2);
  EXPECT_EQ(Series("kvp_shard_head_reads_total"), 1);
  EXPECT_EQ(Series("kvp_shard_read_blocks_total"), 4);
  EXPECT_EQ(Series("kvp_shard_read_bytes_total"), bytes / 3);
  EXPECT_EQ(Series("kvp_shard_corrupt_blocks_total"), 0);
  EXPECT_GT(Series("kvp_shard_disk_bytes"), 2 * bytes);
  EXPECT_EQ(Series("kvp_shard_quota_bytes"), 0);
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

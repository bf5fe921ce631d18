// The collector's process as others see it: its metrics over HTTP, and how soon it stops.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "storage/test_cluster.h"
#include "tests/run_command.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CollectorProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    model_ = testing::TempDir() + "/process_model";
    TinyModelOptions tiny;
    tiny.config = {{"eos_token_id", nullptr}};
    ASSERT_OK(WriteTinyModel(model_, tiny));
    std::string prompts;
    for (int i = 0; i < 4000; ++i) absl::StrAppend(&prompts, "{\"prompt\": \"Number ", i, ".\"}\n");
    prompts_ = testing::TempDir() + "/many_prompts.jsonl";
    ASSERT_OK(WriteFileAtomically(prompts_, {prompts}));
    log_ = testing::TempDir() + "/collect.log";
  }

  void TearDown() override {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
  }

  void Start(const std::string& shards) {
    std::vector<std::string> arguments = {RunfilePath("collector/collect"),
                                          "--model",
                                          model_,
                                          "--prompts",
                                          prompts_,
                                          "--shards",
                                          shards,
                                          "--max-new-tokens=8",
                                          "--metrics-port=0"};
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_EQ(posix_spawn(&child_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }

  // Waits until the log says `text`; returns what follows it in the log.
  std::string WaitForLog(const std::string& text) {
    for (const absl::Time end = absl::Now() + absl::Seconds(60); absl::Now() < end;) {
      const auto log = ReadFile(log_);
      const size_t at = log.ok() ? log->find(text) : std::string::npos;
      if (at != std::string::npos) return log->substr(at + text.size());
      absl::SleepFor(absl::Milliseconds(20));
    }
    ADD_FAILURE() << "the log never said " << text;
    return "";
  }

  // Asks it to stop, and returns how long that took.
  absl::Duration StopAndWait() {
    const absl::Time begin = absl::Now();
    kill(child_, SIGTERM);
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    exit_status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return absl::Now() - begin;
  }

  static std::string Get(int port) {
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::string answer;
    if (connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
      const std::string request =
          "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
      EXPECT_EQ(write(connection, request.data(), request.size()), request.size());
      char buffer[4096];
      ssize_t size;
      while ((size = read(connection, buffer, sizeof(buffer))) > 0) answer.append(buffer, size);
    }
    close(connection);
    return answer;
  }

  static double ValueOf(const std::string& answer, const std::string& series) {
    const size_t at = answer.find("\n" + series + " ");
    double value = -1;
    if (at == std::string::npos) return value;
    const size_t begin = at + series.size() + 2;
    EXPECT_TRUE(absl::SimpleAtod(answer.substr(begin, answer.find('\n', begin) - begin), &value));
    return value;
  }

  std::string model_;
  std::string prompts_;
  std::string log_;
  pid_t child_ = -1;
  int exit_status_ = -1;
};

TEST_F(CollectorProcessTest, AnswersPrometheusWhileItWorks) {
  ASSERT_OK_AND_ASSIGN(const auto cluster, TestCluster::Start(/*shards=*/1));
  Start(cluster->shards_flag());
  const std::string rest = WaitForLog("metrics on http://127.0.0.1:");
  int port = 0;
  ASSERT_TRUE(absl::SimpleAtoi(rest.substr(0, rest.find('/')), &port)) << rest;
  std::string answer;
  for (const absl::Time end = absl::Now() + absl::Seconds(60); absl::Now() < end;) {
    answer = Get(port);
    if (ValueOf(answer, "kvp_collector_traces_total") >= 3) break;
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_THAT(answer, HasSubstr("# TYPE kvp_collector_traces_total counter"));
  EXPECT_GE(ValueOf(answer, "kvp_collector_traces_total"), 3);
  EXPECT_GT(ValueOf(answer, "kvp_collector_prompt_tokens_total"), 3);
  EXPECT_GE(ValueOf(answer, "kvp_collector_continuation_tokens_total"), 24);
  EXPECT_GT(ValueOf(answer, "kvp_collector_sent_bytes_total"), 1000);
  EXPECT_GT(ValueOf(answer, "kvp_collector_prefill_seconds_total"), 0);
  EXPECT_GT(ValueOf(answer, "kvp_collector_tokens_per_second"), 0);
  EXPECT_GE(ValueOf(answer, "kvp_collector_queue_depth"), 0);
  EXPECT_EQ(ValueOf(answer, "kvp_collector_errors_total"), 0);
  EXPECT_THAT(WaitForLog("progress "),
              AllOf(HasSubstr("tokens/s"), HasSubstr(" queued"), HasSubstr("MB sent")));
  EXPECT_LT(StopAndWait(), absl::Seconds(20));
  EXPECT_EQ(exit_status_, 0);
}

TEST_F(CollectorProcessTest, StopsSoonWhereItsShardCannotBeReached) {
  // A port that nobody serves: bound, and not listened on.
  const int unused = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(unused, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(unused, reinterpret_cast<sockaddr*>(&address), &size), 0);
  Start(absl::StrCat("127.0.0.1:", ntohs(address.sin_port)));
  WaitForLog("metrics on");
  absl::SleepFor(absl::Seconds(2));
  // The flags leave it 30 s to connect.
  EXPECT_LT(StopAndWait(), absl::Seconds(10));
  EXPECT_EQ(exit_status_, 1);
  EXPECT_THAT(*ReadFile(log_), HasSubstr("can't be reached"));
  close(unused);
}

}  // namespace
}  // namespace kvp

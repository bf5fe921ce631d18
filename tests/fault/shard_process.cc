#include "tests/fault/shard_process.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/test_traces.h"
#include "tests/run_command.h"
#include "util/file.h"
#include "util/metrics_testing.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Below the ports that the system gives to outgoing connections: while the shard is dead nobody
// else gets it.
constexpr int kFirstPort = 15000;
constexpr int kPorts = 15000;
constexpr size_t kLastWordsBytes = 2000;

bool IsFree(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return bound;
}

int FreePort() {
  std::random_device random;
  while (true) {
    const int port = kFirstPort + static_cast<int>(random() % kPorts);
    if (IsFree(port)) return port;
  }
}

}  // namespace

ShardProcess::ShardProcess(Options options) : options_(std::move(options)), port_(FreePort()) {}

std::string ShardProcess::address() const { return absl::StrCat(options_.host, ":", port_); }

absl::Status ShardProcess::Launch() {
  process_.reset();
  std::error_code ignored;
  std::filesystem::remove(LogPath("serve.port"), ignored);
  std::vector<std::string> argv = options_.runner;
  argv.insert(argv.end(), {RunfilePath("storage/serve"), "--dir", options_.dir, "--listen",
                           address(), "--port-file", LogPath("serve.port")});
  argv.insert(argv.end(), options_.flags.begin(), options_.flags.end());
  ASSIGN_OR_RETURN(process_, ChildProcess::Start(std::move(argv), LogPath("serve.log")));
  return absl::OkStatus();
}

absl::Status ShardProcess::Start() {
  RETURN_IF_ERROR(Launch());
  return WaitUntilReady();
}

absl::Status ShardProcess::WaitUntilReady(absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  while (!std::filesystem::exists(LogPath("serve.port"))) {
    if (const std::optional<int> status = process_->Ended(); status.has_value()) {
      return absl::UnavailableError(absl::StrCat("serve ended with ", *status, ":\n", LastWords()));
    }
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("serve isn't ready:\n", LastWords()));
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  return absl::OkStatus();
}

std::string ShardProcess::LogPath(const std::string& name) const {
  const std::filesystem::path folder = options_.log_dir.empty()
                                           ? std::filesystem::path(options_.dir).parent_path()
                                           : std::filesystem::path(options_.log_dir);
  return folder / name;
}

std::string ShardProcess::LastWords() const {
  const std::string log = ReadFile(LogPath("serve.log")).value_or("");
  return log.size() <= kLastWordsBytes ? log : log.substr(log.size() - kLastWordsBytes);
}

absl::StatusOr<double> ShardProcess::Series(const std::string& name) const {
  ASSIGN_OR_RETURN(const std::string log, ReadFile(LogPath("serve.log")));
  constexpr absl::string_view kBefore = "metrics on http://127.0.0.1:";
  const size_t found = log.rfind(kBefore.data());
  if (found == std::string::npos) return absl::NotFoundError(LastWords());
  const int port = std::atoi(log.c_str() + found + kBefore.size());
  return SeriesValue(HttpGet(port, "/metrics"), name);
}

void ShardProcess::Kill() {
  if (process_.has_value()) process_->Signal(SIGKILL);
  process_.reset();
}

int ShardProcess::Terminate() {
  const int status = process_->Signal(SIGTERM);
  process_.reset();
  return status;
}

WriterThreads::WriterThreads(const TraceWriter::Options& options, int threads, Ledger* ledger)
    : ledger_(ledger), step_(threads) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this, options, i] { Run(options, i + 1); });
  }
}

WriterThreads::~WriterThreads() { Stop().IgnoreError(); }

absl::Status WriterThreads::Stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  absl::MutexLock lock(&mutex_);
  return error_;
}

void WriterThreads::Run(TraceWriter::Options options, uint32_t first) {
  const auto write = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> writer,
                     TraceWriter::Connect(std::move(options)));
    for (uint32_t number = first; !stopping_; number += step_) {
      ledger_->Begin(number);
      RETURN_IF_ERROR(WriteFaultTrace(*writer, number));
      ledger_->Acknowledge(number);
    }
    return absl::OkStatus();
  };
  absl::Status status = write();
  absl::MutexLock lock(&mutex_);
  error_.Update(status);
}

TraceWriter::Options FaultWriterOptions(const std::vector<std::string>& shards) {
  TraceWriter::Options options;
  options.shards = shards;
  options.model = TestModel();
  // However slow the machine is.
  options.reconnect_deadline = absl::Minutes(5);
  return options;
}

Findings CheckShards(const std::vector<std::string>& shards, const Ledger& ledger, uint32_t first,
                     const TlsFiles& tls) {
  TraceReader::Options options;
  options.shards = shards;
  options.tls = tls;
  const absl::StatusOr<std::unique_ptr<TraceReader>> reader = TraceReader::Connect(options);
  if (!reader.ok()) {
    Findings findings;
    findings.problems.push_back(reader.status().ToString());
    return findings;
  }
  return CheckStore(ViewOf(**reader), ledger, first);
}

}  // namespace kvp

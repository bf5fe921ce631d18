// ShardProcess: a shard's server as a process of its own, on a port that stays the same over kills.
// WriterThreads: what keeps it busy.

#ifndef KVP_TESTS_FAULT_SHARD_PROCESS_H_
#define KVP_TESTS_FAULT_SHARD_PROCESS_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/trace_reader.h"
#include "storage/trace_writer.h"
#include "tests/fault/child_process.h"
#include "tests/fault/fault_traces.h"
#include "util/tls_files.h"

namespace kvp {

// Not thread-safe.
class ShardProcess {
 public:
  struct Options {
    // Of the data, which outlives the process.
    std::string dir;
    // Of the files serve.port and serve.log; the folder of `dir` where it is empty.
    std::string log_dir;
    std::string host = "127.0.0.1";
    // Of serve.
    std::vector<std::string> flags;
    // A program, and its arguments, that is to run serve.
    std::vector<std::string> runner;
  };

  explicit ShardProcess(Options options);

  // HOST:PORT.
  std::string address() const;
  // Starts it; Start waits until it is ready, too, and is an error, with its last words, where it
  // ends instead.
  absl::Status Launch();
  absl::Status Start();
  absl::Status WaitUntilReady(absl::Duration limit = absl::Seconds(60));
  // A series of its metrics; needs the flag --metrics-port=0.
  absl::StatusOr<double> Series(const std::string& name) const;
  void Kill();
  // SIGTERM. The exit status.
  int Terminate();

  // Null where it isn't running.
  ChildProcess* process() { return process_.has_value() ? &*process_ : nullptr; }

 private:
  std::string LogPath(const std::string& name) const;
  std::string LastWords() const;

  const Options options_;
  const int port_;
  std::optional<ChildProcess> process_;
};

// Each thread writes traces one after another, thread i of n those of number i + 1, i + 1 + n, ….
class WriterThreads {
 public:
  // `ledger` must outlive them.
  WriterThreads(const TraceWriter::Options& options, int threads, Ledger* ledger);
  ~WriterThreads();

  // Each ends the trace that it is at. The first error of any.
  absl::Status Stop();

 private:
  void Run(TraceWriter::Options options, uint32_t first);

  Ledger* const ledger_;
  const uint32_t step_;
  std::atomic<bool> stopping_{false};
  absl::Mutex mutex_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

// Options for TestModel's traces.
TraceWriter::Options FaultWriterOptions(const std::vector<std::string>& shards);
// Checks the store behind `shards`.
Findings CheckShards(const std::vector<std::string>& shards, const Ledger& ledger,
                     uint32_t first = 1, const TlsFiles& tls = {});

}  // namespace kvp

#endif  // KVP_TESTS_FAULT_SHARD_PROCESS_H_

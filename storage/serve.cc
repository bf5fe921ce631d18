// kvp serve: one shard of the trace store.

#include <pthread.h>
#include <signal.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "storage/shard_metrics.h"
#include "storage/shard_server.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/metrics.h"
#include "util/status_macros.h"
#include "util/tls_flags.h"

ABSL_FLAG(std::string, dir, "", "Folder of the shard's data; created where there is none.");
ABSL_FLAG(std::string, listen, "127.0.0.1:0",
          "HOST:PORT to listen on; port 0 takes a free one. Other than loopback addresses need "
          "--tls-cert, --tls-key and --tls-ca.");
ABSL_FLAG(int, shard_index, 0, "Which shard this is, from 0.");
ABSL_FLAG(int, shard_count, 1, "How many shards the model's heads are split over.");
ABSL_FLAG(std::string, port_file, "",
          "File to write the port to, in decimal, once the shard is ready.");
ABSL_FLAG(absl::Duration, sweep_older_than, absl::Hours(1),
          "At start, delete traces that were never committed and got no block for this long.");
ABSL_FLAG(int64_t, max_bytes, 0,
          "Most bytes of blocks on the disk; past it collectors wait. 0: no limit.");
ABSL_FLAG(
    int, sorted_file_kib, 4096,
    "Batches of at least this many KiB are written as a sorted file of their own, smaller ones "
    "through the log.");
ABSL_FLAG(
    int, write_buffer_mib, 64,
    "Blocks that went through the log and are held in memory, in MiB, before they are written "
    "to a file.");
ABSL_FLAG(bool, direct_io, true,
          "Read tables and write sorted files past the page cache, where the file system can.");
ABSL_FLAG(int, queue_mib, 64,
          "Blocks received but not yet written, in MiB, before reading pauses.");
ABSL_FLAG(
    int, max_streams, 1024,
    "Writers' streams at once; each may hold a block beside the queue's. More are told to wait.");
ABSL_FLAG(
    int32_t, metrics_port, -1,
    "Answer GET /metrics for Prometheus on this port; 0: a free one, which is logged; -1: not.");
ABSL_FLAG(
    std::string, metrics_host, "127.0.0.1",
    "Address on which the metrics are served, without TLS: numbers, and nothing can be changed.");
ABSL_FLAG(absl::Duration, drain_deadline, absl::Seconds(10),
          "After SIGTERM or SIGINT, how long streams have to end.");

namespace {

constexpr char kUsage[] =
    R"(serve: one shard of the trace store: takes head blocks over gRPC, keeps them durably, and
serves them to readers. It runs until SIGTERM or SIGINT, then lets streams end and exits with 0.

Examples:
  kvp serve --dir /data/shard0 --listen 127.0.0.1:7000
  kvp serve --dir /data/shard1 --listen 127.0.0.1:0 --port-file /tmp/shard1.port \
    --shard-index 1 --shard-count 2
  kvp serve --dir /data/shard0 --listen 10.0.0.7:7000 --tls-cert shard0.pem --tls-key shard0.key \
    --tls-ca ca.pem --max-bytes 2000000000000
  kvp serve --dir /data/shard0 --listen 127.0.0.1:7000 --metrics-port 9400

Exit status: 0 ended by a signal, 1 failed, 2 wrong usage.)";

kvp::ShardServer::Options OptionsFromFlags() {
  kvp::ShardServer::Options options;
  options.listen = absl::GetFlag(FLAGS_listen);
  options.shard.dir = absl::GetFlag(FLAGS_dir);
  options.shard.shard_index = absl::GetFlag(FLAGS_shard_index);
  options.shard.shard_count = absl::GetFlag(FLAGS_shard_count);
  options.tls = kvp::TlsFilesFromFlags();
  options.shard.max_bytes = absl::GetFlag(FLAGS_max_bytes);
  options.shard.sweep_older_than = absl::GetFlag(FLAGS_sweep_older_than);
  options.shard.sorted_file_bytes = int64_t{absl::GetFlag(FLAGS_sorted_file_kib)} << 10;
  options.shard.write_buffer_bytes = int64_t{absl::GetFlag(FLAGS_write_buffer_mib)} << 20;
  options.shard.direct_io = absl::GetFlag(FLAGS_direct_io);
  options.max_streams = absl::GetFlag(FLAGS_max_streams);
  options.queue.capacity_bytes = int64_t{absl::GetFlag(FLAGS_queue_mib)} << 20;
  return options;
}

// What is wrong with the flags, or "".
std::string UsageProblem() {
  if (absl::GetFlag(FLAGS_dir).empty()) return "flag --dir is missing";
  const auto at_least = [](const char* name, int64_t value, int64_t least) {
    if (value >= least) return std::string();
    return absl::StrCat("flag --", name, ": value \"", value, "\": it must be at least ", least);
  };
  for (std::string problem :
       {at_least("shard-count", absl::GetFlag(FLAGS_shard_count), 1),
        at_least("shard-index", absl::GetFlag(FLAGS_shard_index), 0),
        at_least("max-bytes", absl::GetFlag(FLAGS_max_bytes), 0),
        at_least("sorted-file-kib", absl::GetFlag(FLAGS_sorted_file_kib), 1),
        at_least("write-buffer-mib", absl::GetFlag(FLAGS_write_buffer_mib), 1),
        at_least("max-streams", absl::GetFlag(FLAGS_max_streams), 1),
        at_least("queue-mib", absl::GetFlag(FLAGS_queue_mib), 1)}) {
    if (!problem.empty()) return problem;
  }
  for (const auto& [name, value] :
       {std::pair("sweep-older-than", absl::GetFlag(FLAGS_sweep_older_than)),
        std::pair("drain-deadline", absl::GetFlag(FLAGS_drain_deadline))}) {
    if (value >= absl::ZeroDuration()) continue;
    return absl::StrCat("flag --", name, ": value \"", absl::FormatDuration(value),
                        "\": it must be 0 or more");
  }
  if (const int port = absl::GetFlag(FLAGS_metrics_port); port < -1 || port > 65535) {
    return absl::StrCat("flag --metrics-port: value \"", port, "\": it must be in [-1, 65535]");
  }
  const absl::Status valid = OptionsFromFlags().Validate();
  return valid.ok() ? "" : kvp::FlagMessage(valid.message());
}

absl::Status Run(kvp::ShardServer::Options options, const sigset_t& signals) {
  // Ends after the server, which counts in it.
  kvp::Metrics metrics;
  options.shard.metrics = kvp::ShardMetrics::In(metrics);
  RETURN_IF_ERROR(kvp::MakeDirectories(options.shard.dir));
  ASSIGN_OR_RETURN(const std::unique_ptr<kvp::ShardServer> server,
                   kvp::ShardServer::Start(options));
  kvp::LogInfo(absl::StrCat("listening on ", server->address(), ", ",
                            server->shard().committed_traces(), " traces committed"));
  if (absl::GetFlag(FLAGS_metrics_port) >= 0) {
    const std::string host = absl::GetFlag(FLAGS_metrics_host);
    RETURN_IF_ERROR(metrics.Serve(absl::StrCat(host, ":", absl::GetFlag(FLAGS_metrics_port))));
    kvp::LogInfo(absl::StrCat("metrics on http://", host, ":", metrics.port(), "/metrics"));
  }
  if (const std::string file = absl::GetFlag(FLAGS_port_file); !file.empty()) {
    RETURN_IF_ERROR(kvp::WriteFileAtomically(file, {absl::StrCat(server->port(), "\n")}));
  }
  int signal = 0;
  sigwait(&signals, &signal);
  kvp::LogInfo(absl::StrCat("got ", strsignal(signal), ", ending"));
  server->Shutdown(absl::GetFlag(FLAGS_drain_deadline));
  kvp::LogInfo(absl::StrCat("ended, ", server->shard().committed_traces(), " traces committed"));
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  kvp::TuneMallocForLargeBuffers();
  if (!kvp::ParseCommandLine(argc, argv, kUsage).empty()) {
    return kvp::UsageError("serve takes flags only");
  }
  if (const std::string problem = UsageProblem(); !problem.empty()) {
    return kvp::UsageError(problem);
  }
  const kvp::ShardServer::Options options = OptionsFromFlags();
  kvp::SetLogName(absl::StrCat("shard/", absl::GetFlag(FLAGS_shard_index)));
  // Before any thread starts, so that all inherit it and sigwait gets the signals.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  kvp::LogInfo(kvp::EffectiveFlags());
  return kvp::ExitStatus(Run(options, signals));
}

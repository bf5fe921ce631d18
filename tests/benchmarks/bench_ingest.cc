// `kvp bench ingest`: how fast traces become durable, against what the disk and gRPC give.

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "nlohmann/json.hpp"
#include "proto/ingest.grpc.pb.h"
#include "storage/shard_server.h"
#include "storage/trace_writer.h"
#include "tests/benchmarks/disk.h"
#include "tests/benchmarks/store_traces.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/head_split.h"
#include "util/malloc_tuning.h"
#include "util/median.h"
#include "util/status_macros.h"

ABSL_FLAG(int64_t, traces, 24, "Traces of a round, of 128 MB each.");
ABSL_FLAG(int64_t, rounds, 5, "Rounds of raw writing, gRPC echo and ingestion, in turn.");
// The layouts among which the shard's defaults were chosen.
ABSL_FLAG(int64_t, batch_mib, kvp::IngestQueue::Options().batch_bytes >> 20,
          "MiB that the shard makes durable with one sync.");
ABSL_FLAG(int64_t, sorted_file_kib, kvp::Shard::Options().sorted_file_bytes >> 10,
          "As kvp serve's; a very large one sends everything through the log.");
ABSL_FLAG(bool, direct_io, kvp::Shard::Options().direct_io, "As kvp serve's.");
ABSL_FLAG(int64_t, block_tokens, kvp::kStoreBenchBlockTokens,
          "Tokens of a block: 512 are 272 KiB.");
ABSL_FLAG(std::string, json, "", "Write the results to this file.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(bench ingest: MB/s of traces acknowledged as durable by a shard, in a process of its own, against
(a) a raw file of the same size, written and synced, and (b) a server that acknowledges the same messages and drops
them. In TMPDIR, or /tmp: that disk is measured.

Example:
  bench_ingest --json ingest.json)";

constexpr int64_t kWindowBytes = int64_t{64} << 20;

// Acknowledges everything and keeps nothing.
class EchoService final : public TraceIngestion::Service {
 public:
  grpc::Status Ingest(grpc::ServerContext*,
                      grpc::ServerReaderWriter<IngestResponse, IngestRequest>* stream) override {
    IngestRequest request;
    while (stream->Read(&request)) {
      IngestResponse response;
      if (request.has_hello()) {
        const ModelInfo& model = request.hello().model();
        ShardIdentity& identity = *response.mutable_hello();
        *identity.mutable_model() = model;
        identity.set_shard_count(1);
        identity.set_head_end(int64_t{model.layers()} * model.kv_heads());
      } else if (request.has_resume()) {
        response.mutable_held()->set_trace_id(request.resume());
      } else {
        response.set_acknowledged(request.sequence());
      }
      if (!stream->Write(response)) break;
    }
    return grpc::Status::OK;
  }
};

// What a server's process says of itself at its end.
struct ServerReport {
  ProcessCosts costs;
};

// A server in a process of its own, forked before this one has threads.
class ServerProcess {
 public:
  // `serve` gets a function that reports the port and returns when the server is to end; the
  // process's costs are taken when `serve` returns.
  using Serve = std::function<absl::Status(const std::function<void(int port)>& run)>;

  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(const Serve& serve) {
    int to_parent[2];
    int to_child[2];
    if (pipe(to_parent) != 0 || pipe(to_child) != 0) return absl::InternalError("pipe");
    const pid_t child = fork();
    if (child < 0) return absl::InternalError("fork");
    if (child == 0) {
      close(to_parent[0]);
      close(to_child[1]);
      Child(serve, to_parent[1], to_child[0]);
    }
    close(to_parent[1]);
    close(to_child[0]);
    std::unique_ptr<ServerProcess> process(new ServerProcess(child, to_parent[0], to_child[1]));
    if (read(process->in_, &process->port_, sizeof(int)) != sizeof(int)) {
      return absl::InternalError("the server's process didn't start");
    }
    return process;
  }

  ~ServerProcess() {
    close(out_);
    close(in_);
    waitpid(child_, nullptr, 0);
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  absl::StatusOr<ServerReport> End() {
    ServerReport report;
    if (write(out_, "e", 1) != 1 || read(in_, &report, sizeof(report)) != sizeof(report)) {
      return absl::InternalError("the server's process failed");
    }
    return report;
  }

 private:
  ServerProcess(pid_t child, int in, int out) : child_(child), in_(in), out_(out) {}

  [[noreturn]] static void Child(const Serve& serve, int out, int in) {
    const absl::Status status = serve([&](int port) {
      char end;
      if (write(out, &port, sizeof(port)) == sizeof(port)) (void)!read(in, &end, 1);
    });
    if (!status.ok()) {
      std::cerr << status << std::endl;
      _exit(1);
    }
    const ServerReport report{CostsSoFar()};
    _exit(write(out, &report, sizeof(report)) == sizeof(report) ? 0 : 1);
  }

  const pid_t child_;
  const int in_;
  const int out_;
  int port_ = 0;
};

absl::Status ServeEcho(const std::function<void(int)>& run) {
  TuneMallocForLargeBuffers();
  EchoService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  builder.SetMaxReceiveMessageSize(8 << 20);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  run(port);
  server->Shutdown(std::chrono::system_clock::now());
  return absl::OkStatus();
}

absl::Status ServeShard(const std::string& dir, const std::function<void(int)>& run) {
  TuneMallocForLargeBuffers();
  ShardServer::Options options;
  options.shard.dir = dir;
  options.shard.sorted_file_bytes = absl::GetFlag(FLAGS_sorted_file_kib) << 10;
  options.shard.direct_io = absl::GetFlag(FLAGS_direct_io);
  options.queue.batch_bytes = absl::GetFlag(FLAGS_batch_mib) << 20;
  ASSIGN_OR_RETURN(std::unique_ptr<ShardServer> server, ShardServer::Start(options));
  run(server->port());
  return absl::OkStatus();
}

struct Sent {
  int64_t bytes = 0;
  absl::Duration elapsed;
};

absl::StatusOr<Sent> SendTraces(const std::string& address, int64_t traces) {
  TraceWriter::Options options;
  options.shards = {address};
  options.model = StoreBenchModel();
  options.window_bytes = kWindowBytes;
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> writer, TraceWriter::Connect(options));
  Sent sent;
  const absl::Time begin = absl::Now();
  for (int64_t i = 0; i < traces; ++i) {
    RETURN_IF_ERROR(WriteStoreBenchTrace(*writer, static_cast<uint32_t>(i),
                                         static_cast<int32_t>(absl::GetFlag(FLAGS_block_tokens))));
  }
  sent.elapsed = absl::Now() - begin;
  sent.bytes = writer->acknowledged_bytes();
  return sent;
}

double MegabytesPerSecond(int64_t bytes, absl::Duration elapsed) {
  return static_cast<double>(bytes) / 1e6 / absl::ToDoubleSeconds(elapsed);
}

struct Round {
  double raw = 0;
  double echo = 0;
  double ingest = 0;
  double amplification = 0;
  int64_t peak_rss_bytes = 0;
};

// In a process of its own, since a process that has used gRPC can't fork another that does.
absl::StatusOr<Round> MeasureRound(const std::string& folder, int64_t traces) {
  Round round;
  ASSIGN_OR_RETURN(const auto echo, ServerProcess::Start(ServeEcho));
  const std::string dir = folder + "/shard";
  ASSIGN_OR_RETURN(const auto shard,
                   ServerProcess::Start([&dir](const std::function<void(int)>& run) {
                     return ServeShard(dir, run);
                   }));
  ASSIGN_OR_RETURN(const Sent echoed, SendTraces(echo->address(), traces));
  round.echo = MegabytesPerSecond(echoed.bytes, echoed.elapsed);

  const std::string file = folder + "/raw";
  ASSIGN_OR_RETURN(const absl::Duration raw,
                   TimeRawWrite(file, echoed.bytes, RandomBytes(int64_t{1} << 20, 3)));
  round.raw = MegabytesPerSecond(echoed.bytes, raw);
  std::remove(file.c_str());

  ASSIGN_OR_RETURN(const Sent sent, SendTraces(shard->address(), traces));
  round.ingest = MegabytesPerSecond(sent.bytes, sent.elapsed);
  ASSIGN_OR_RETURN(const ServerReport report, shard->End());
  round.amplification =
      static_cast<double>(report.costs.written_bytes) / static_cast<double>(sent.bytes);
  round.peak_rss_bytes = report.costs.peak_rss_bytes;
  return round;
}

absl::StatusOr<Round> RunRound(int64_t traces) {
  int ends[2];
  if (pipe(ends) != 0) return absl::InternalError("pipe");
  const pid_t child = fork();
  if (child < 0) return absl::InternalError("fork");
  if (child == 0) {
    close(ends[0]);
    absl::StatusOr<Round> round = absl::InternalError("not run");
    {
      absl::StatusOr<BenchFolder> folder = BenchFolder::Make();
      round = folder.ok() ? MeasureRound(folder->path(), traces)
                          : absl::StatusOr<Round>(folder.status());
    }
    if (!round.ok()) std::cerr << round.status() << std::endl;
    _exit(round.ok() && write(ends[1], &*round, sizeof(Round)) == sizeof(Round) ? 0 : 1);
  }
  close(ends[1]);
  Round round;
  const bool got = read(ends[0], &round, sizeof(round)) == sizeof(round);
  close(ends[0]);
  waitpid(child, nullptr, 0);
  if (!got) return absl::InternalError("a round failed");
  return round;
}

absl::Status Run() {
  const int64_t rounds = absl::GetFlag(FLAGS_rounds);
  std::vector<double> raw, echo, ingest, ratio, amplification;
  int64_t peak_rss_bytes = 0;
  for (int64_t i = 0; i < rounds; ++i) {
    ASSIGN_OR_RETURN(const Round round, RunRound(absl::GetFlag(FLAGS_traces)));
    raw.push_back(round.raw);
    echo.push_back(round.echo);
    ingest.push_back(round.ingest);
    ratio.push_back(round.ingest / std::min(round.raw, round.echo));
    amplification.push_back(round.amplification);
    peak_rss_bytes = std::max(peak_rss_bytes, round.peak_rss_bytes);
    std::cout << absl::StreamFormat(
        "raw file %.0f MB/s, gRPC echo %.0f MB/s, ingested %.0f MB/s: %.2f of the lower; written "
        "%.3f times; peak memory %.0f MiB\n",
        round.raw, round.echo, round.ingest, ratio.back(), round.amplification,
        static_cast<double>(round.peak_rss_bytes) / (1 << 20));
  }
  const Shard::Options shard;
  const int64_t bound = kWindowBytes + 3 * shard.write_buffer_bytes + (int64_t{64} << 20);
  nlohmann::ordered_json json;
  json["ratio_to_ceiling"] = Median(ratio);
  json["write_amplification"] = Median(amplification);
  json["peak_rss_bytes"] = peak_rss_bytes;
  json["peak_rss_bound_bytes"] = bound;
  json["ingest_mb_per_s"] = Median(ingest);
  json["raw_file_mb_per_s"] = Median(raw);
  json["grpc_echo_mb_per_s"] = Median(echo);
  json["window_bytes"] = kWindowBytes;
  json["batch_mib"] = absl::GetFlag(FLAGS_batch_mib);
  json["sorted_file_kib"] = absl::GetFlag(FLAGS_sorted_file_kib);
  json["direct_io"] = absl::GetFlag(FLAGS_direct_io);
  json["block_tokens"] = absl::GetFlag(FLAGS_block_tokens);
  json["traces"] = absl::GetFlag(FLAGS_traces);
  json["rounds"] = rounds;
  std::cout << absl::StreamFormat(
      "median of %d rounds: %.2f of the lower ceiling, written %.3f times; peak memory %.0f MiB of "
      "%.0f (window, three write buffers and 64 MiB)\n",
      rounds, Median(ratio), Median(amplification), static_cast<double>(peak_rss_bytes) / (1 << 20),
      static_cast<double>(bound) / (1 << 20));
  const std::string path = absl::GetFlag(FLAGS_json);
  if (path.empty()) return absl::OkStatus();
  return WriteFileAtomically(path, {json.dump(2), "\n"});
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  kvp::TuneMallocForLargeBuffers();
  if (!kvp::ParseCommandLine(argc, argv, kvp::kUsage).empty()) {
    return kvp::UsageError("bench ingest takes flags only");
  }
  if (absl::GetFlag(FLAGS_traces) < 1 || absl::GetFlag(FLAGS_rounds) < 1) {
    return kvp::UsageError("--traces and --rounds must be positive");
  }
  if (absl::GetFlag(FLAGS_batch_mib) < 1 || absl::GetFlag(FLAGS_sorted_file_kib) < 1) {
    return kvp::UsageError("--batch-mib and --sorted-file-kib must be positive");
  }
  const int64_t block_tokens = absl::GetFlag(FLAGS_block_tokens);
  if (block_tokens < 1 || kvp::kStoreBenchTokens % block_tokens != 0) {
    return kvp::UsageError(absl::StrCat("--block-tokens must divide ", kvp::kStoreBenchTokens));
  }
  return kvp::ExitStatus(kvp::Run());
}

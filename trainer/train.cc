// The trainer's main: flags, signals, MPI, the order of things.

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "c10/util/Exception.h"
#include "nlohmann/json.hpp"
#include "policy/agent_file.h"
#include "storage/trace_reader.h"
#include "trainer/agent_flags.h"
#include "trainer/mpi_communicator.h"
#include "trainer/trace_cache.h"
#include "trainer/trainer_metrics.h"
#include "trainer/training_device.h"
#include "trainer/training_run.h"
#include "trainer/training_summary.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/math_threads.h"
#include "util/metrics.h"
#include "util/status_macros.h"
#include "util/tls_flags.h"

ABSL_FLAG(std::string, shards, "",
          "HOST:PORT of each shard, comma-separated, in the order of their heads; or, with a slash "
          "in it, a shard's folder, read without its server.");
ABSL_FLAG(std::string, output, "", "The agents file to write, as in agents.safetensors.");
ABSL_FLAG(int32_t, threads, 1, "Compute threads of each rank.");
ABSL_FLAG(absl::Duration, connect_deadline, absl::Seconds(30), "How long to try to reach a shard.");
ABSL_FLAG(std::string, json, "", "Where to write a summary.");
ABSL_FLAG(std::string, metrics, "", "Where to write a JSON line for each step.");
ABSL_FLAG(
    int32_t, metrics_port, -1,
    "Rank 0 answers GET /metrics for Prometheus on this port; 0: a free one, which is logged; -1: "
    "not.");
ABSL_FLAG(std::string, metrics_host, "127.0.0.1", "Address on which the metrics are served.");
ABSL_FLAG(std::string, device, "auto",
          "cpu, cuda (each rank on a machine takes a device of its own), or auto: cuda where there "
          "is any.");
ABSL_FLAG(std::string, checkpoint_dir, "",
          "Folder of this run's checkpoints, the same one for all ranks; empty: none are written.");
ABSL_FLAG(absl::Duration, checkpoint_interval, absl::Minutes(10),
          "Time between checkpoints; 0: not by time.");
ABSL_FLAG(int64_t, checkpoint_steps, 0, "Steps between checkpoints; 0: not by steps.");
ABSL_FLAG(bool, resume, false,
          "Go on after the newest whole checkpoint in --checkpoint-dir, where there is any.");
ABSL_FLAG(int64_t, cache_mib, -1,
          "Memory of each rank for traces that were read, so that later epochs needn't read them "
          "again; -1: half of what is free, shared by the machine's ranks.");
ABSL_FLAG(int64_t, prefetch_mib, 256, "Memory of each rank for traces that are read ahead.");
ABSL_FLAG(int32_t, fetch_threads, 2, "Threads of each rank that read traces.");

namespace {

constexpr char kUsage[] =
    R"(train: trains one eviction agent for each (layer, KV head) on the traces of a store.

Each MPI rank owns whole groups of heads and reads only those; where there are more ranks than
groups, several share the batches of the same heads. With --checkpoint-dir a run that ended early,
by SIGTERM, SIGUSR1 or anything else, goes on with --resume as if it had never stopped, with any
number of ranks. Without, SIGTERM and SIGUSR1 end the training within a few steps, and what there is
gets written. mpirun passes SIGUSR1 on; on SIGTERM it kills the ranks after a second, unless
OMPI_MCA_odls_base_sigkill_timeout gives them more.

Examples:
  train --shards localhost:7001 --output agents.safetensors
  train --shards /data/shard0,/data/shard1 --output agents.safetensors
  mpirun -np 2 train --shards localhost:7001,localhost:7002 --output agents.safetensors
      --steps 600 --json train.json
  mpirun -np 8 train --shards localhost:7001 --output agents.safetensors --steps 4000
      --checkpoint-dir checkpoints --resume

Exit status: 0 done (also after SIGTERM or SIGUSR1), 1 failed, 2 wrong usage.)";

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

void RequestStop(int) { stop_requested = true; }

constexpr size_t kTableRows = 8;

absl::StatusOr<kvp::TrainingOptions> OptionsOfFlags() {
  ASSIGN_OR_RETURN(kvp::TrainingOptions options, kvp::OptionsOfAgentFlags());
  options.metrics_path = absl::GetFlag(FLAGS_metrics);
  options.checkpoint.dir = absl::GetFlag(FLAGS_checkpoint_dir);
  options.checkpoint.every = absl::GetFlag(FLAGS_checkpoint_interval);
  options.checkpoint.every_steps = absl::GetFlag(FLAGS_checkpoint_steps);
  options.checkpoint.resume = absl::GetFlag(FLAGS_resume);
  const int64_t cache_mib = absl::GetFlag(FLAGS_cache_mib);
  if (cache_mib >= 0) options.data.cache_bytes = cache_mib << 20;
  options.data.prefetch_bytes = absl::GetFlag(FLAGS_prefetch_mib) << 20;
  options.data.fetch_threads = absl::GetFlag(FLAGS_fetch_threads);
  return options;
}

// What is wrong with the flags that aren't options, or "".
std::string UsageProblem() {
  for (const auto& [name, value] : {std::pair("shards", absl::GetFlag(FLAGS_shards)),
                                    std::pair("output", absl::GetFlag(FLAGS_output))}) {
    if (value.empty()) return absl::StrCat("flag --", name, " is missing");
  }
  constexpr int64_t kMostMib = int64_t{1} << 40;
  for (const auto& [name, value, least, most] :
       {std::tuple("threads", int64_t{absl::GetFlag(FLAGS_threads)}, int64_t{1}, int64_t{1024}),
        std::tuple("metrics-port", int64_t{absl::GetFlag(FLAGS_metrics_port)}, int64_t{-1},
                   int64_t{65535}),
        std::tuple("cache-mib", absl::GetFlag(FLAGS_cache_mib), int64_t{-1}, kMostMib),
        std::tuple("prefetch-mib", absl::GetFlag(FLAGS_prefetch_mib), int64_t{0}, kMostMib),
        std::tuple("fetch-threads", int64_t{absl::GetFlag(FLAGS_fetch_threads)}, int64_t{1},
                   int64_t{256})}) {
    if (value < least || value > most) {
      return absl::StrCat("flag --", name, " is ", value, ", not in [", least, ", ", most, "]");
    }
  }
  if (absl::GetFlag(FLAGS_connect_deadline) < absl::ZeroDuration()) {
    return absl::StrCat("--connect-deadline: ",
                        absl::FormatDuration(absl::GetFlag(FLAGS_connect_deadline)), " is below 0");
  }
  return "";
}

absl::Status ServeMetrics(kvp::Metrics& metrics) {
  if (absl::GetFlag(FLAGS_metrics_port) < 0) return absl::OkStatus();
  const std::string host = absl::GetFlag(FLAGS_metrics_host);
  RETURN_IF_ERROR(metrics.Serve(absl::StrCat(host, ":", absl::GetFlag(FLAGS_metrics_port))));
  kvp::LogInfo(absl::StrCat("metrics on http://", host, ":", metrics.port(), "/metrics"));
  return absl::OkStatus();
}

// Of rank 0, at the end.
absl::Status Write(const kvp::TrainingOptions& options, const kvp::TrainingResult& result,
                   int ranks, absl::Time begin) {
  RETURN_IF_ERROR(kvp::SaveAgents(absl::GetFlag(FLAGS_output), result.agents));
  for (const std::string& line : kvp::HeadTableLines(kvp::HeadTable(result), kTableRows)) {
    kvp::LogInfo(line);
  }
  kvp::LogInfo(absl::StrFormat(
      "%s written: held-out cost %g after %d steps; %.2f %% of the time waited for data",
      absl::GetFlag(FLAGS_output), result.agents.held_out_cost, result.steps,
      100 * result.waiting_seconds / std::max(1e-9, result.training_seconds)));
  const std::string json = absl::GetFlag(FLAGS_json);
  if (json.empty()) return absl::OkStatus();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  return kvp::WriteFileAtomically(
      json, {kvp::SummaryJson(options, result, ranks, seconds).dump(2), "\n"});
}

absl::Status Run(kvp::TrainingOptions options, kvp::Communicator& communicator) {
  const absl::Time begin = absl::Now();
  const bool first = communicator.rank() == 0;
  // A wrong path is known before hours of training, not after.
  RETURN_IF_ERROR(communicator.Agree(
      first ? kvp::CheckOutputPaths({absl::GetFlag(FLAGS_output), absl::GetFlag(FLAGS_json),
                                     absl::GetFlag(FLAGS_metrics)})
            : absl::OkStatus()));
  const absl::StatusOr<c10::Device> device =
      kvp::TrainingDevice(absl::GetFlag(FLAGS_device), communicator.machine_rank());
  RETURN_IF_ERROR(communicator.Agree(device.status()));
  options.device = *device;
  if (absl::GetFlag(FLAGS_cache_mib) < 0) {
    options.data.cache_bytes = kvp::DefaultCacheBytes(communicator.machine_size());
  }
  kvp::Metrics metrics;
  if (first) options.metrics = kvp::TrainerMetrics::In(metrics);
  RETURN_IF_ERROR(communicator.Agree(first ? ServeMetrics(metrics) : absl::OkStatus()));
  kvp::TraceReader::Options reader_options;
  reader_options.shards = absl::StrSplit(absl::GetFlag(FLAGS_shards), ',');
  reader_options.tls = kvp::TlsFilesFromFlags();
  reader_options.connect_deadline = absl::GetFlag(FLAGS_connect_deadline);
  const auto reader = kvp::TraceReader::Connect(reader_options);
  RETURN_IF_ERROR(communicator.Agree(reader.status()));
  absl::StatusOr<kvp::TrainingResult> result =
      kvp::Train(options, **reader, communicator, stop_requested);
  absl::Status status = result.status();
  const bool to_be_resumed = status.ok() && result->stopped && !options.checkpoint.dir.empty();
  if (status.ok() && first && !to_be_resumed) {
    status = Write(options, *result, communicator.size(), begin);
  }
  return communicator.Agree(status);
}

}  // namespace

int main(int argc, char** argv) {
  kvp::TuneMallocForLargeBuffers();
  const std::vector<std::string> positional = kvp::ParseCommandLine(argc, argv, kUsage);
  if (!positional.empty()) {
    return kvp::UsageError(absl::StrCat("unexpected argument \"", positional[0], "\""));
  }
  if (const std::string problem = UsageProblem(); !problem.empty()) {
    return kvp::UsageError(problem);
  }
  absl::StatusOr<kvp::TrainingOptions> options = OptionsOfFlags();
  if (!options.ok()) return kvp::UsageError(kvp::FlagMessage(options.status().message()));
  if (const absl::Status status = options->Validate(); !status.ok()) {
    return kvp::UsageError(kvp::FlagMessage(status.message()));
  }
  kvp::SetMathThreads(absl::GetFlag(FLAGS_threads));

  absl::Status status;
  int rank = 0;
  {
    const std::unique_ptr<kvp::Communicator> communicator = kvp::NewMpiCommunicator();
    rank = communicator->rank();
    kvp::SetLogName(absl::StrCat("trainer/", rank));
    // After MPI's own start, which sets handlers too.
    std::signal(SIGTERM, RequestStop);
    std::signal(SIGUSR1, RequestStop);
    if (rank == 0) {
      kvp::LogInfo(kvp::EffectiveFlags());
      kvp::LogInfo(absl::StrCat(
          "agents: ", absl::StrJoin(kvp::AgentSettings(*options), " ", absl::PairFormatter("="))));
    }
    try {
      status = Run(*std::move(options), *communicator);
    } catch (const c10::Error& error) {
      // Others may be waiting for this rank: leaving without a word ends them too.
      kvp::LogError(error.what_without_backtrace());
      std::_Exit(kvp::kExitFailed);
    }
  }
  // All ranks have the same status: one of them says so.
  if (rank == 0) return kvp::ExitStatus(status);
  return status.ok() ? 0 : kvp::kExitFailed;
}

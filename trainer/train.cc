// The trainer's main: flags, signals, MPI, the order of things.

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "c10/util/Exception.h"
#include "nlohmann/json.hpp"
#include "policy/agent_file.h"
#include "storage/trace_reader.h"
#include "trainer/load_traces.h"
#include "trainer/mpi_communicator.h"
#include "trainer/training_run.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/math_threads.h"
#include "util/status_macros.h"
#include "util/tls_flags.h"

ABSL_FLAG(std::string, shards, "",
          "HOST:PORT of each shard, comma-separated, in the order of their heads.");
ABSL_FLAG(std::string, output, "", "The agents file to write, as in agents.safetensors.");
ABSL_FLAG(std::string, objective, "exact", "exact, rloo, log_rank or exact+log_rank.");
ABSL_FLAG(int64_t, permutations, 8, "Rankings that rloo draws of each context.");
ABSL_FLAG(double, log_rank_weight, 1, "Weight of the second part of exact+log_rank.");
ABSL_FLAG(int64_t, steps, 300, "Updates of each agent.");
ABSL_FLAG(int64_t, batch, 8, "Contexts a step.");
ABSL_FLAG(double, learning_rate, 3e-3, "Largest learning rate, after the warm-up.");
ABSL_FLAG(int64_t, warmup_steps, 20, "Steps over which the learning rate rises; a cosine follows.");
ABSL_FLAG(double, weight_decay, 1e-3, "Decoupled weight decay.");
ABSL_FLAG(double, clip, 5, "Largest norm of one head's gradient.");
ABSL_FLAG(double, ema, 0.99, "Decay of the moving average that is evaluated and written.");
ABSL_FLAG(int64_t, width, 64, "Width of the agents' layers.");
ABSL_FLAG(int64_t, hidden_layers, 2, "Hidden layers of the agents.");
ABSL_FLAG(
    bool, keep_best, false,
    "Write each head's best evaluation in the place of the last one; the held-out traces then "
    "have a say in the agents.");
ABSL_FLAG(bool, undo_rotation, true,
          "Agents read keys also as they were before their rotary rotation; --noundo-rotation: as "
          "they are "
          "cached.");
ABSL_FLAG(int64_t, position_features, 32, "Features of an entry's position.");
ABSL_FLAG(int64_t, sampled_entries, 0, "Entries of each context that a step looks at; 0 for all.");
ABSL_FLAG(uint64_t, seed, 0, "The same seed gives the same bytes, whatever the number of ranks.");
ABSL_FLAG(int64_t, group_size, 4,
          "Heads that are trained stacked. Results depend on it by rounding.");
ABSL_FLAG(int64_t, eval_every, 50, "Steps between evaluations on held-out traces.");
ABSL_FLAG(int64_t, eval_contexts, 256, "Held-out contexts that are evaluated; 0 for all.");
ABSL_FLAG(int32_t, threads, 1, "Compute threads of each rank.");
ABSL_FLAG(absl::Duration, connect_deadline, absl::Seconds(30), "How long to try to reach a shard.");
ABSL_FLAG(std::string, json, "", "Where to write a summary.");
ABSL_FLAG(std::string, metrics, "", "Where to write a JSON line for each step.");

namespace {

constexpr char kUsage[] =
    R"(train: trains one eviction agent for each (layer, KV head) on the traces of a store.

Each MPI rank owns whole groups of heads and reads only those. SIGTERM or SIGUSR1 ends the training within a few steps,
and what there is gets written. mpirun passes SIGUSR1 on; on SIGTERM it kills the ranks after a second, unless
OMPI_MCA_odls_base_sigkill_timeout gives them more.

Examples:
  train --shards localhost:7001 --output agents.safetensors
  mpirun -np 2 train --shards localhost:7001,localhost:7002 --output agents.safetensors --steps 600 --json train.json)";

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

void RequestStop(int) { stop_requested = true; }

kvp::TrainingOptions OptionsOfFlags() {
  kvp::TrainingOptions options;
  options.group.shape.width = absl::GetFlag(FLAGS_width);
  options.group.shape.hidden_layers = absl::GetFlag(FLAGS_hidden_layers);
  options.group.shape.position_features = absl::GetFlag(FLAGS_position_features);
  options.group.optimizer.learning_rate = absl::GetFlag(FLAGS_learning_rate);
  options.group.optimizer.weight_decay = absl::GetFlag(FLAGS_weight_decay);
  options.group.optimizer.clip_norm = absl::GetFlag(FLAGS_clip);
  options.group.optimizer.steps = absl::GetFlag(FLAGS_steps);
  options.group.optimizer.warmup_steps = absl::GetFlag(FLAGS_warmup_steps);
  options.group.optimizer.ema_decay = absl::GetFlag(FLAGS_ema);
  options.group.seed = absl::GetFlag(FLAGS_seed);
  options.group.sampled_entries = absl::GetFlag(FLAGS_sampled_entries);
  options.group.keep_best = absl::GetFlag(FLAGS_keep_best);
  options.objective.name = absl::GetFlag(FLAGS_objective);
  options.objective.permutations = absl::GetFlag(FLAGS_permutations);
  options.objective.log_rank_weight = absl::GetFlag(FLAGS_log_rank_weight);
  options.batch = absl::GetFlag(FLAGS_batch);
  options.eval_every = absl::GetFlag(FLAGS_eval_every);
  options.eval_contexts = absl::GetFlag(FLAGS_eval_contexts);
  options.metrics_path = absl::GetFlag(FLAGS_metrics);
  return options;
}

double SecondsSince(absl::Time begin) { return absl::ToDoubleSeconds(absl::Now() - begin); }

absl::Status WriteSummary(const std::string& path, const kvp::TrainingOptions& options,
                          const kvp::TrainingResult& result, const kvp::Dataset& train,
                          const kvp::Dataset& held_out, int ranks, double load_seconds,
                          double wall_seconds) {
  const std::vector<double>& costs = result.held_out_cost;
  nlohmann::json retained = nlohmann::json::object();
  for (size_t b = 0; b < options.group.budgets.size(); ++b) {
    double sum = 0;
    for (const std::vector<double>& of_head : result.retained) sum += of_head[b];
    retained[absl::StrCat(options.group.budgets[b])] = sum / static_cast<double>(costs.size());
  }
  const nlohmann::json summary = {
      {"held_out_cost", result.agents.held_out_cost},
      {"held_out_cost_worst", *std::max_element(costs.begin(), costs.end())},
      {"held_out_cost_per_head", costs},
      {"retained", retained},
      {"stopped_heads", result.stopped_heads},
      {"model", result.agents.model_name},
      {"objective", result.agents.objective},
      {"seed", result.agents.seed},
      {"training_data_hash", result.agents.training_data_hash},
      {"heads", costs.size()},
      {"ranks", ranks},
      {"steps", result.steps},
      {"batch", options.batch},
      {"train_traces", train.records().size()},
      {"train_contexts", train.contexts().size()},
      {"held_out_traces", held_out.records().size()},
      {"held_out_contexts", held_out.contexts().size()},
      {"contexts_per_second", result.contexts_per_second},
      {"training_seconds", result.training_seconds},
      {"wall_seconds", wall_seconds},
      {"data_wait_share", load_seconds / wall_seconds},
  };
  return kvp::WriteFileAtomically(path, {summary.dump(2), "\n"});
}

absl::Status Run(kvp::TrainingOptions options, kvp::Communicator& communicator) {
  const absl::Time begin = absl::Now();
  // A wrong path is known before hours of training, not after.
  absl::Status writable;
  if (communicator.rank() == 0) {
    writable = kvp::CheckOutputPaths(
        {absl::GetFlag(FLAGS_output), absl::GetFlag(FLAGS_json), absl::GetFlag(FLAGS_metrics)});
  }
  RETURN_IF_ERROR(communicator.Agree(writable));
  kvp::TraceReader::Options reader_options;
  reader_options.shards = absl::StrSplit(absl::GetFlag(FLAGS_shards), ',');
  reader_options.tls = kvp::TlsFilesFromFlags();
  reader_options.connect_deadline = absl::GetFlag(FLAGS_connect_deadline);
  auto reader = kvp::TraceReader::Connect(reader_options);
  RETURN_IF_ERROR(communicator.Agree(reader.status()));
  const int64_t group_size = absl::GetFlag(FLAGS_group_size);
  ASSIGN_OR_RETURN(const kvp::Dataset train,
                   kvp::LoadTraces(**reader, "train", group_size, communicator));
  ASSIGN_OR_RETURN(const kvp::Dataset held_out,
                   kvp::LoadTraces(**reader, "held_out", group_size, communicator));
  if (train.records()[0].model().fingerprint() != held_out.records()[0].model().fingerprint()) {
    return absl::InvalidArgumentError(
        absl::StrCat("train traces are of model ", train.records()[0].model().fingerprint(),
                     ", held_out ones of ", held_out.records()[0].model().fingerprint()));
  }
  const double load_seconds = SecondsSince(begin);
  options.group.shape.head_dim = train.head_dim();
  if (absl::GetFlag(FLAGS_undo_rotation)) {
    const auto& frequencies = train.records()[0].model().rope_frequencies();
    options.group.shape.rope_frequencies.assign(frequencies.begin(), frequencies.end());
  }
  RETURN_IF_ERROR(options.group.shape.Validate());
  if (communicator.rank() == 0) {
    kvp::LogInfo(absl::StrCat(train.contexts().size(), " contexts of ", train.records().size(),
                              " traces to train on, ", held_out.contexts().size(), " of ",
                              held_out.records().size(), " held out, read in ", load_seconds,
                              " s"));
  }
  absl::StatusOr<kvp::TrainingResult> result =
      kvp::Train(options, train, held_out, communicator, stop_requested);
  absl::Status status = result.status();
  if (status.ok() && communicator.rank() == 0) {
    status = kvp::SaveAgents(absl::GetFlag(FLAGS_output), result->agents);
    if (status.ok() && !absl::GetFlag(FLAGS_json).empty()) {
      status = WriteSummary(absl::GetFlag(FLAGS_json), options, *result, train, held_out,
                            communicator.size(), load_seconds, SecondsSince(begin));
    }
    if (status.ok()) {
      kvp::LogInfo(absl::StrCat(absl::GetFlag(FLAGS_output), " written: held-out cost ",
                                result->agents.held_out_cost, " after ", result->steps, " steps"));
    }
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
  for (const auto& [name, value] : {std::pair("shards", absl::GetFlag(FLAGS_shards)),
                                    std::pair("output", absl::GetFlag(FLAGS_output))}) {
    if (value.empty()) return kvp::UsageError(absl::StrCat("--", name, " is missing"));
  }
  // Fields of other names.
  if (const double clip = absl::GetFlag(FLAGS_clip); !(clip > 0)) {
    return kvp::UsageError(absl::StrCat("flag --clip is ", clip, ", not above 0"));
  }
  if (const double ema = absl::GetFlag(FLAGS_ema); !(ema >= 0 && ema < 1)) {
    return kvp::UsageError(absl::StrCat("flag --ema is ", ema, ", not in [0, 1)"));
  }
  kvp::TrainingOptions options = OptionsOfFlags();
  options.group.shape.head_dim = 1;  // of the traces, later
  if (const absl::Status status = options.Validate(); !status.ok()) {
    return kvp::UsageError(kvp::FlagMessage(absl::StripPrefix(status.message(), "agent shape: ")));
  }
  for (const std::string& problem :
       {options.objective.name == "rloo"
            ? ""
            : kvp::MisplacedFlag({"permutations"}, "without --objective rloo"),
        options.objective.name == "exact+log_rank"
            ? ""
            : kvp::MisplacedFlag({"log_rank_weight"}, "without --objective exact+log_rank")}) {
    if (!problem.empty()) return kvp::UsageError(problem);
  }
  for (const auto& [name, value] : {std::pair("threads", int64_t{absl::GetFlag(FLAGS_threads)}),
                                    std::pair("group-size", absl::GetFlag(FLAGS_group_size))}) {
    if (value < 1) return kvp::UsageError(absl::StrCat("--", name, ": ", value, " is below 1"));
  }
  if (absl::GetFlag(FLAGS_connect_deadline) < absl::ZeroDuration()) {
    return kvp::UsageError(absl::StrCat(
        "--connect-deadline: ", absl::FormatDuration(absl::GetFlag(FLAGS_connect_deadline)),
        " is below 0"));
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
    if (rank == 0) kvp::LogInfo(kvp::EffectiveFlags());
    try {
      status = Run(std::move(options), *communicator);
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

// `kvp collect`: a collector worker's process.

#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "collector/prompt_flags.h"
#include "collector/prompt_source.h"
#include "collector/worker.h"
#include "llm/decoder.h"
#include "llm/decoder_flags.h"
#include "llm/model_config.h"
#include "llm/model_tokenizer.h"
#include "llm/tokenizer.h"
#include "nlohmann/json.hpp"
#include "storage/host_port.h"
#include "storage/trace_writer.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/math_threads.h"
#include "util/metrics.h"
#include "util/status_macros.h"
#include "util/tls_flags.h"

ABSL_FLAG(std::string, model, "", "Model directory in Hugging Face layout.");
ABSL_FLAG(std::string, shards, "",
          "HOST:PORT of every shard, separated by commas, in the order of their head ranges.");
ABSL_FLAG(std::string, split, "train", "Split of the traces: train or held_out.");
ABSL_FLAG(
    std::string, task, "",
    "Task name of the traces. Empty: what the prompt is: its task of --generate, or the prompt "
    "file's name.");
ABSL_FLAG(int64_t, max_new_tokens, 128, "Most tokens of a generated continuation.");
ABSL_FLAG(double, temperature, 0, "Of sampling; 0 takes the likeliest token.");
ABSL_FLAG(int64_t, top_k, 0, "Sample among the likeliest top-k tokens; 0: all.");
ABSL_FLAG(double, top_p, 1,
          "Sample among the likeliest tokens that together have this probability.");
ABSL_FLAG(int64_t, cuts, 1,
          "Cuts of a trace: the prompt's end and cuts - 1 random positions before it.");
ABSL_FLAG(uint64_t, cut_seed, 0, "Seed of random cuts.");
ABSL_FLAG(int64_t, block_tokens, 0, "Tokens of a stored block; 0: as many as make about 512 KiB.");
ABSL_FLAG(
    std::string, kv_dtype, "bf16",
    "How K and V are stored: bf16, or fp8 (e4m3, a scale for each channel of a block), at half "
    "the bytes.");
ABSL_FLAG(bool, record_queries, false,
          "Store the prompts' queries too, for policies that need them offline.");
ABSL_FLAG(int64_t, threads, 1, "Compute threads.");
ABSL_FLAG(int64_t, chunk_tokens, 512, "Tokens of a chunk of prefill: bounds its memory.");
ABSL_FLAG(int64_t, batch, 1, "Prompts that run together; each trace is as it would be alone.");
ABSL_FLAG(int64_t, worker_index, 0, "This worker's number, from 0.");
ABSL_FLAG(int64_t, worker_count, 1, "Workers that share the prompts out.");
ABSL_FLAG(
    bool, finish_others, false,
    "After this worker's own prompts, those of others that aren't committed by then: for when "
    "one has died.");
ABSL_FLAG(int64_t, limit, 0, "Only the first so many prompts of all; 0: all.");
ABSL_FLAG(absl::Duration, connect_deadline, absl::Seconds(30),
          "How long a shard may be unreachable.");
ABSL_FLAG(
    int32_t, metrics_port, -1,
    "Answer GET /metrics for Prometheus on this port; 0: a free one, which is logged; -1: not.");
ABSL_FLAG(std::string, metrics_host, "127.0.0.1", "Address on which the metrics are served.");
ABSL_FLAG(std::string, json, "", "Write the summary to this file.");

namespace kvp {
namespace {

constexpr absl::string_view kUsage =
    R"(collect: runs a model over prompts and streams what its KV cache held, and what each
entry turned out to be worth, to the shards. A trace that is there already is skipped, so running
again resumes; so is a prompt after which the model ended the sequence at once.

A trace is the same where all that decides it is: the model (config.json and weights), --dtype and
the rotary frequencies; the prompt's tokens; those of the answer, or else --max-new-tokens (as far
as the context allows), the end-of-sequence tokens, --temperature and, above 0, --top-k, --top-p
and --seed; --cuts and, above 1, --cut-seed; --block-tokens, --kv-dtype and --record-queries. Not
--split and --task, nor --batch, --chunk-tokens, --device, the prompts' order and who runs them.

A shard holds the traces of one model: another one, or the same with other rotary frequencies (the
long factors of longrope), is refused and needs shards of its own.

  collect --model DIR --prompts FILE.jsonl --shards HOST:PORT,… [flags]
  collect --model DIR --generate retrieval|text --text FILE --count N --shards HOST:PORT,… [flags]
  collect --model DIR --generate ruler [--tasks vt,cwe] [--text FILE] [--qa FILE,…] --count N
      --shards HOST:PORT,… [flags]
  collect --model DIR --generate oasst2|boolq|arc_challenge|passage_retrieval|gov_report --data FILE
      --shards HOST:PORT,… [flags]

Examples:
  collect --model Meta-Llama-3-8B --prompts oasst.jsonl --cuts 16
      --shards 127.0.0.1:7400,127.0.0.1:7401
  collect --model llm/embedded/model --generate retrieval --text novels.txt --count 200 --seed 1
      --shards localhost:7400
  collect --model llm/embedded/model --generate text --text emma.txt --count 50 --split held_out
      --shards localhost:7400 --json summary.json
  collect --model Meta-Llama-3-8B --generate ruler --tasks niah_multikey_2,vt,cwe --count 300
      --context-tokens 4000 --shards localhost:7400

Exit status: 0 done (also after SIGTERM, with the trace in hand committed), 1 failed, 2 wrong usage.)";

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

void RequestStop(int) { stop_requested.store(true); }

std::string ShardsProblem() {
  for (const absl::string_view address : absl::StrSplit(absl::GetFlag(FLAGS_shards), ',')) {
    if (const absl::Status status = ParseHostPort(address).status(); !status.ok()) {
      return absl::StrCat("flag --shards: ", status.message());
    }
  }
  return "";
}

// What is wrong with the flags taken together, or "".
std::string UsageProblem() {
  if (absl::GetFlag(FLAGS_model).empty()) return "flag --model is missing";
  if (absl::GetFlag(FLAGS_shards).empty()) return "flag --shards is missing";
  if (std::string problem = PromptUsageProblem(); !problem.empty()) return problem;
  if (absl::GetFlag(FLAGS_threads) < 1 || absl::GetFlag(FLAGS_threads) > 1024) {
    return absl::StrCat("flag --threads: value \"", absl::GetFlag(FLAGS_threads),
                        "\": it must be in [1, 1024]");
  }
  if (std::string problem = DecoderUsageProblem(); !problem.empty()) return problem;
  if (std::string problem = ShardsProblem(); !problem.empty()) return problem;
  const std::string kv_dtype = absl::GetFlag(FLAGS_kv_dtype);
  if (kv_dtype != "bf16" && kv_dtype != "fp8") {
    return absl::StrCat("flag --kv-dtype: value \"", kv_dtype, "\": it must be bf16 or fp8");
  }
  if (absl::GetFlag(FLAGS_metrics_port) < -1 || absl::GetFlag(FLAGS_metrics_port) > 65535) {
    return absl::StrCat("flag --metrics-port: value \"", absl::GetFlag(FLAGS_metrics_port),
                        "\": it must be in [-1, 65535]");
  }
  if (absl::GetFlag(FLAGS_metrics_port) < 0) {
    std::string problem = MisplacedFlag({"metrics_host"}, "without --metrics-port");
    if (!problem.empty()) return problem;
  }
  if (absl::GetFlag(FLAGS_connect_deadline) < absl::ZeroDuration()) {
    return absl::StrCat("flag --connect-deadline: value \"",
                        absl::FormatDuration(absl::GetFlag(FLAGS_connect_deadline)),
                        "\": it must be 0 or more");
  }
  return "";
}

WorkerOptions OptionsFromFlags() {
  WorkerOptions options;
  options.capture.max_new_tokens = absl::GetFlag(FLAGS_max_new_tokens);
  options.capture.sampling.temperature = absl::GetFlag(FLAGS_temperature);
  options.capture.sampling.top_k = absl::GetFlag(FLAGS_top_k);
  options.capture.sampling.top_p = absl::GetFlag(FLAGS_top_p);
  options.capture.sampling.seed = absl::GetFlag(FLAGS_seed);
  options.capture.cuts = absl::GetFlag(FLAGS_cuts);
  options.capture.cut_seed = absl::GetFlag(FLAGS_cut_seed);
  options.capture.block_tokens = absl::GetFlag(FLAGS_block_tokens);
  options.capture.kv_dtype =
      absl::GetFlag(FLAGS_kv_dtype) == "fp8" ? KvDtype::kFloat8 : KvDtype::kBf16;
  options.capture.record_queries = absl::GetFlag(FLAGS_record_queries);
  options.capture.chunk_tokens = absl::GetFlag(FLAGS_chunk_tokens);
  options.split = absl::GetFlag(FLAGS_split);
  options.task = absl::GetFlag(FLAGS_task);
  options.worker_index = absl::GetFlag(FLAGS_worker_index);
  options.worker_count = absl::GetFlag(FLAGS_worker_count);
  options.finish_others = absl::GetFlag(FLAGS_finish_others);
  options.batch = absl::GetFlag(FLAGS_batch);
  options.limit = absl::GetFlag(FLAGS_limit);
  return options;
}

absl::Status Report(const WorkerSummary& summary, const ModelInfo& model) {
  const double seconds = absl::ToDoubleSeconds(summary.elapsed);
  LogInfo(absl::StrFormat(
      "%s: %d traces, %d skipped, %d empty, %d tokens, %d bytes (%.1f a token and head), %.1f s",
      summary.stopped ? "stopped" : "done", summary.traces, summary.skipped, summary.empty,
      summary.tokens, summary.bytes, summary.bytes_per_token_head, seconds));
  const std::string path = absl::GetFlag(FLAGS_json);
  if (path.empty()) return absl::OkStatus();
  const nlohmann::json json = {
      {"model", model.name()},
      {"fingerprint", model.fingerprint()},
      {"traces", summary.traces},
      {"skipped", summary.skipped},
      {"empty", summary.empty},
      {"tokens", summary.tokens},
      {"entries", summary.entries},
      {"bytes", summary.bytes},
      {"bytes_per_token_head", summary.bytes_per_token_head},
      {"seconds", seconds},
      {"compute_seconds", absl::ToDoubleSeconds(summary.compute)},
      {"prefill_seconds", absl::ToDoubleSeconds(summary.prefill)},
      {"continuation_seconds", absl::ToDoubleSeconds(summary.continuation)},
      {"stopped", summary.stopped},
  };
  return WriteFileAtomically(path, {json.dump(2), "\n"});
}

absl::Status Run() {
  WorkerOptions options = OptionsFromFlags();
  RETURN_IF_ERROR(CheckOutputPaths({absl::GetFlag(FLAGS_json)}));
  Metrics metrics;
  if (absl::GetFlag(FLAGS_metrics_port) >= 0) {
    const std::string host = absl::GetFlag(FLAGS_metrics_host);
    RETURN_IF_ERROR(metrics.Serve(absl::StrCat(host, ":", absl::GetFlag(FLAGS_metrics_port))));
    LogInfo(absl::StrCat("metrics on http://", host, ":", metrics.port(), "/metrics"));
  }
  const std::string directory = absl::GetFlag(FLAGS_model);
  // Loading weights may take minutes: first everything else that can be wrong.
  const Decoder::Options decoder_options = DecoderOptionsFromFlags();
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(directory));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   LoadModelTokenizer(directory, config));
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptSource> source,
                   PromptsFromFlags(directory, config.max_model_len(decoder_options.max_model_len),
                                    tokenizer.get()));

  ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> decoder,
                   Decoder::Load(directory, decoder_options));

  TraceWriter::Options writer_options;
  writer_options.shards = absl::StrSplit(absl::GetFlag(FLAGS_shards), ',');
  writer_options.tls = TlsFilesFromFlags();
  writer_options.model = ModelInfoOf(*decoder, directory);
  writer_options.reconnect_deadline = absl::GetFlag(FLAGS_connect_deadline);
  writer_options.cancelled = [] { return stop_requested.load(); };
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> asking, TraceWriter::Connect(writer_options));
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> sending,
                   TraceWriter::Connect(writer_options));
  ASSIGN_OR_RETURN(const WorkerSummary summary,
                   RunWorker(*decoder, writer_options.model, *source, options, *asking, *sending,
                             stop_requested, WorkerMetrics::In(metrics)));
  return Report(summary, writer_options.model);
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  kvp::TuneMallocForLargeBuffers();
  const auto positional = kvp::ParseCommandLine(argc, argv, kvp::kUsage);
  if (!positional.empty()) {
    return kvp::UsageError(absl::StrCat("unknown argument \"", positional[0], "\""));
  }
  if (const std::string problem = kvp::UsageProblem(); !problem.empty()) {
    return kvp::UsageError(problem);
  }
  if (const absl::Status valid = kvp::OptionsFromFlags().Validate(); !valid.ok()) {
    return kvp::UsageError(kvp::FlagMessage(valid.message()));
  }
  kvp::SetLogName(absl::StrCat("collector/", absl::GetFlag(FLAGS_worker_index)));
  kvp::LogInfo(kvp::EffectiveFlags());
  std::signal(SIGTERM, kvp::RequestStop);
  std::signal(SIGINT, kvp::RequestStop);
  kvp::SetMathThreads(absl::GetFlag(FLAGS_threads));
  const absl::Status status = kvp::Run();
  // Flags that don't suit the model.
  if (absl::IsOutOfRange(status)) return kvp::UsageError(status.message());
  return kvp::ExitStatus(status);
}

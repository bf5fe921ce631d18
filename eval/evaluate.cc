// evaluate: compares eviction policies on held-out traces and in the model.

#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "eval/evaluation.h"
#include "eval/report.h"
#include "eval/results.h"
#include "eval/results_csv.h"
#include "llm/decoder_flags.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/status_macros.h"
#include "util/tls_flags.h"

ABSL_FLAG(std::string, model, "", "Model directory in Hugging Face layout.");
ABSL_FLAG(std::string, shards, "",
          "HOST:PORT of each shard, in the order of their heads; without it the offline part is "
          "left out.");
ABSL_FLAG(absl::Duration, connect_deadline, absl::Seconds(30),
          "How long a shard may be unreachable.");
ABSL_FLAG(std::string, agents, "", "agents.safetensors, which policy kvp needs.");
ABSL_FLAG(std::string, q_filters, "", "q_filters.safetensors, which policy q_filter needs.");
ABSL_FLAG(std::string, text, "",
          "Held-out text, one paragraph a line: the prompts' filler and the text whose perplexity "
          "is read; "
          "without it the part in the model is left out.");
ABSL_FLAG(int64_t, prompts_count, 60, "Retrieval prompts to answer with each policy and budget.");
ABSL_FLAG(int32_t, needles, 28, "Needles in each prompt.");
ABSL_FLAG(int32_t, questions, 8, "Questions after each prompt.");
ABSL_FLAG(int32_t, context_tokens, 960, "Tokens of each prompt's context.");
ABSL_FLAG(int64_t, text_windows, 24, "Windows of natural text that perplexity is read from.");
ABSL_FLAG(int64_t, text_context_tokens, 768, "Tokens of each window that are compressed.");
ABSL_FLAG(int64_t, text_next_tokens, 128, "Tokens behind them that are predicted.");
ABSL_FLAG(uint64_t, seed, 1,
          "Seed of the prompts, of what is random in policies and of the intervals.");
ABSL_FLAG(std::string, policies, "",
          "Comma-separated: kvp, oracle, random, streaming_llm, k_norm, key_diff, lag_kv, cur, "
          "leverage, h2o, tova, snap_kv, pyramid_kv, expected_attention, q_filter, kv_zip; ada: "
          "before one lets the heads of a layer compete for its entries. Default: all that can be "
          "made.");
ABSL_FLAG(
    std::string, budgets, "0.5,0.25,0.125,0.0625",
    "Comma-separated shares of the cache that are kept, each in (0, 1]; of each head at least "
    "one entry, and the first 4 and the last 16 before all others.");
ABSL_FLAG(int64_t, threads, 1, "Threads.");
ABSL_FLAG(int64_t, timed_sequences, 5, "Prompts on which times are measured.");
ABSL_FLAG(std::string, training_json, "", "The trainer's JSON results, to be passed on.");
ABSL_FLAG(std::string, json, "", "Where results.json goes, and results.csv beside it.");
ABSL_FLAG(std::string, report, "", "Where report.html goes.");
ABSL_FLAG(std::string, picture, "", "Where an SVG of the curves goes.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(evaluate: compares eviction policies, on recorded traces and in the running model.

Offline, every policy ranks the cache entries of the held-out traces, and the ranking is held against what later tokens
attended to. In the model, contexts are prefilled, their cache is compressed (entries freed) before any question is seen,
and then questions are answered and text is read.

Examples:
  kvp evaluate --model MODEL --shards 127.0.0.1:7001 --agents agents.safetensors --text held_out.txt \
      --json results.json --report report.html
  kvp evaluate --model MODEL --text held_out.txt --policies key_diff,streaming_llm --budgets 0.25 --json results.json)";

absl::StatusOr<EvaluationOptions> OptionsFromFlags() {
  EvaluationOptions options;
  options.model_directory = absl::GetFlag(FLAGS_model);
  options.decoder = DecoderOptionsFromFlags();
  if (const std::string shards = absl::GetFlag(FLAGS_shards); !shards.empty()) {
    options.shards = absl::StrSplit(shards, ',');
    options.tls = TlsFilesFromFlags();
  }
  options.connect_deadline = absl::GetFlag(FLAGS_connect_deadline);
  options.agents_path = absl::GetFlag(FLAGS_agents);
  options.q_filters_path = absl::GetFlag(FLAGS_q_filters);
  options.text_path = absl::GetFlag(FLAGS_text);
  options.policies = absl::StrSplit(absl::GetFlag(FLAGS_policies), ',', absl::SkipEmpty());
  options.budgets.clear();
  const std::string budgets = absl::GetFlag(FLAGS_budgets);
  for (absl::string_view text : absl::StrSplit(budgets, ',', absl::SkipEmpty())) {
    double budget = 0;
    if (!absl::SimpleAtod(text, &budget)) {
      return absl::InvalidArgumentError(absl::StrCat("--budgets: \"", text, "\" is no number"));
    }
    options.budgets.push_back(budget);
  }
  options.prompts = absl::GetFlag(FLAGS_prompts_count);
  options.retrieval.needles = absl::GetFlag(FLAGS_needles);
  options.retrieval.questions = absl::GetFlag(FLAGS_questions);
  options.retrieval.context_tokens = absl::GetFlag(FLAGS_context_tokens);
  options.windows.count = absl::GetFlag(FLAGS_text_windows);
  options.windows.context_tokens = absl::GetFlag(FLAGS_text_context_tokens);
  options.windows.continuation_tokens = absl::GetFlag(FLAGS_text_next_tokens);
  options.seed = absl::GetFlag(FLAGS_seed);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.timed_sequences = absl::GetFlag(FLAGS_timed_sequences);
  options.training_json_path = absl::GetFlag(FLAGS_training_json);
  RETURN_IF_ERROR(options.Validate());
  return options;
}

// A flag of a part that is left out, or "".
std::string MisplacedPartFlag() {
  if (absl::GetFlag(FLAGS_shards).empty()) {
    std::string problem = MisplacedFlag({"connect_deadline"}, "without --shards");
    if (!problem.empty()) return problem;
  }
  if (!absl::GetFlag(FLAGS_text).empty()) return "";
  return MisplacedFlag({"prompts_count", "needles", "questions", "context_tokens", "text_windows",
                        "text_context_tokens", "text_next_tokens", "timed_sequences"},
                       "without --text");
}

absl::Status Run(const EvaluationOptions& options) {
  RETURN_IF_ERROR(CheckOutputPaths(
      {absl::GetFlag(FLAGS_json), absl::GetFlag(FLAGS_report), absl::GetFlag(FLAGS_picture)}));
  ASSIGN_OR_RETURN(const Results results, RunEvaluation(options));
  if (const std::string path = absl::GetFlag(FLAGS_json); !path.empty()) {
    RETURN_IF_ERROR(WriteResults(path, results));
    RETURN_IF_ERROR(WriteResultsCsv(CsvPathOf(path), results));
  }
  if (const std::string path = absl::GetFlag(FLAGS_report); !path.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(path, {ReportHtml(results)}));
  }
  if (const std::string path = absl::GetFlag(FLAGS_picture); !path.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(path, {ReportPicture(results)}));
  }
  std::cout << SummaryText(results);
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  kvp::TuneMallocForLargeBuffers();
  const auto positional = kvp::ParseCommandLine(argc, argv, kvp::kUsage);
  if (!positional.empty()) return kvp::UsageError("unexpected argument " + positional[0]);
  const absl::StatusOr<kvp::EvaluationOptions> options = kvp::OptionsFromFlags();
  if (!options.ok()) return kvp::UsageError(options.status().message());
  for (const std::string& problem : {kvp::DecoderUsageProblem(), kvp::MisplacedPartFlag()}) {
    if (!problem.empty()) return kvp::UsageError(problem);
  }
  kvp::SetLogName("evaluate");
  kvp::LogInfo("evaluate " + kvp::EffectiveFlags());
  return kvp::ExitStatus(kvp::Run(*options));
}

// `kvp bench collect`: what collecting traces costs, in time and in bytes, and what float8 costs
// the agents.

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "collector/capture.h"
#include "collector/prompt_source.h"
#include "llm/decoder.h"
#include "llm/model_config.h"
#include "llm/tokenizer.h"
#include "nlohmann/json.hpp"
#include "storage/head_block.h"
#include "tests/benchmarks/capture_overhead.h"
#include "tests/benchmarks/float8_loss.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/math_threads.h"
#include "util/status_macros.h"

ABSL_FLAG(std::string, model, "", "Model directory; empty: the embedded model.");
ABSL_FLAG(std::string, text, "", "Text that prompts are made of; empty: the embedded one.");
ABSL_FLAG(int64_t, prompts, 6, "Prompts of a round.");
ABSL_FLAG(int64_t, rounds, 15, "Rounds with and without capture, in turn; medians are reported.");
ABSL_FLAG(int64_t, max_new_tokens, 64, "Tokens of a generated continuation.");
ABSL_FLAG(int64_t, threads, 1, "Compute threads; sending has a thread of its own.");
ABSL_FLAG(
    int64_t, float8_traces, 32,
    "Traces on which agents are trained in bf16 and in float8, and a quarter as many held out; "
    "0: that isn't measured.");
ABSL_FLAG(int64_t, float8_steps, 300, "Updates of those agents.");
ABSL_FLAG(std::string, json, "", "Write the results to this file.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(bench collect: what collecting traces adds to running the model over the same prompts.

Runs prompts with needles (the embedded job's kind) with answers given and with answers generated, at 1 and at 16 cuts,
in turn plainly and through the collector into a store of its own in TMPDIR; then trains small agents on traces in
bf16 and in float8.

Example:
  bench_collect --json collect.json)";

absl::StatusOr<std::string> EmbeddedPath(const std::string& flag, const std::string& path) {
  if (!flag.empty()) return flag;
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
  for (const std::string& candidate : {path, absl::StrCat(self, ".runfiles/kvp/", path)}) {
    if (std::filesystem::exists(candidate, error)) return candidate;
  }
  return absl::NotFoundError(
      absl::StrCat(path, ": neither here nor beside ", self, "; say --model and --text"));
}

// Encoded bytes a token and head, and their share of K, V and Q in bf16, for 7 query heads a KV
// head of 128 and 16 cuts.
absl::StatusOr<std::pair<double, double>> SizeOfGroupOfSeven(KvDtype kv_dtype) {
  constexpr int64_t kGroup = 7;
  ModelConfig config;
  config.head_dim = 128;
  config.kv_heads = 1;
  config.query_heads = kGroup;
  CaptureOptions options;
  options.cuts = 16;
  options.kv_dtype = kv_dtype;
  const int64_t float8 = kv_dtype == KvDtype::kFloat8 ? 1 : 0;
  HeadBlock block;
  block.tokens = static_cast<int32_t>(BlockTokens(options, config));
  block.head_dim = static_cast<int32_t>(config.head_dim);
  block.cuts = static_cast<int32_t>(options.cuts);
  block.kv_dtype = kv_dtype;
  block.key_scales.resize(4 * config.head_dim * float8);
  block.value_scales = block.key_scales;
  block.keys.resize(block.tokens * config.head_dim * (2 - float8));
  block.values = block.keys;
  block.labels.resize(2 * options.cuts * block.tokens);
  ASSIGN_OR_RETURN(const std::string encoded, EncodeHeadBlock(block));
  const double bytes = static_cast<double>(encoded.size()) / block.tokens;
  return std::make_pair(bytes, bytes / static_cast<double>(2 * (2 + kGroup) * config.head_dim));
}

class CollectBench {
 public:
  absl::Status Run() {
    ASSIGN_OR_RETURN(const std::string model,
                     EmbeddedPath(absl::GetFlag(FLAGS_model), "llm/embedded/model"));
    ASSIGN_OR_RETURN(text_path_,
                     EmbeddedPath(absl::GetFlag(FLAGS_text), "llm/embedded/text/train.txt"));
    ASSIGN_OR_RETURN(text_, ReadFile(text_path_));
    ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(model + "/tokenizer.json"));
    ASSIGN_OR_RETURN(decoder_, Decoder::Load(model, {}));
    model_ = ModelInfoOf(*decoder_, model);
    RETURN_IF_ERROR(MeasureTime());
    RETURN_IF_ERROR(MeasureBytes());
    if (absl::GetFlag(FLAGS_float8_traces) > 0) RETURN_IF_ERROR(MeasureFloat8());
    const std::string path = absl::GetFlag(FLAGS_json);
    if (path.empty()) return absl::OkStatus();
    return WriteFileAtomically(path, {json_.dump(2), "\n"});
  }

 private:
  absl::StatusOr<std::vector<TokenizedPrompt>> Prompts(int64_t count, uint64_t seed) const {
    GeneratedPromptOptions options;
    options.count = count;
    options.seed = seed;
    options.context_tokens = std::min(decoder_->max_model_len(), kDefaultWindow) / 16 * 15;
    ASSIGN_OR_RETURN(const std::unique_ptr<PromptSource> source,
                     RetrievalPrompts(text_, text_path_, options, tokenizer_.get()));
    return AllPrompts(*source);
  }

  absl::Status MeasureTime() {
    const int64_t rounds = absl::GetFlag(FLAGS_rounds);
    ASSIGN_OR_RETURN(const std::vector<TokenizedPrompt> forced,
                     Prompts(absl::GetFlag(FLAGS_prompts), 1));
    std::vector<TokenizedPrompt> generated = forced;
    for (TokenizedPrompt& prompt : generated) prompt.continuation.clear();
    double worst = 0;
    for (const bool is_forced : {true, false}) {
      for (const int64_t cuts : {1, 16}) {
        CaptureOptions options;
        options.cuts = cuts;
        options.max_new_tokens = absl::GetFlag(FLAGS_max_new_tokens);
        ASSIGN_OR_RETURN(
            const OverheadResult result,
            MeasureOverhead(*decoder_, model_, is_forced ? forced : generated, options, rounds));
        const std::string name = absl::StrCat(is_forced ? "forced" : "generated", "_", cuts,
                                              cuts == 1 ? "_cut" : "_cuts");
        worst = std::max(worst, result.ratio);
        json_["overhead_ratio_" + name] = result.ratio;
        json_["cpu_ratio_" + name] = result.cpu_ratio;
        json_["fastest_ratio_" + name] = result.fastest_ratio;
        json_["seconds_with_" + name] = result.seconds_with;
        json_["seconds_without_" + name] = result.seconds_without;
        json_["bytes_per_token_head_" + name] = result.bytes_per_token_head;
        const auto [least, most] = std::minmax_element(result.ratios.begin(), result.ratios.end());
        std::cout << absl::StreamFormat(
            "%-17s %.3f s plainly, %.3f s collected: ratio %.3f (%.3f … %.3f over %d rounds, %.3f "
            "of "
            "the fastest; %.3f of the computing thread's CPU time), %.1f bytes a token and head\n",
            name, result.seconds_without, result.seconds_with, result.ratio, *least, *most, rounds,
            result.fastest_ratio, result.cpu_ratio, result.bytes_per_token_head);
      }
    }
    json_["overhead_ratio"] = worst;
    json_["rounds"] = rounds;
    json_["prompts"] = forced.size();
    json_["prompt_tokens"] = forced[0].prompt.size();
    json_["threads"] = absl::GetFlag(FLAGS_threads);
    std::cout << absl::StreamFormat("overhead_ratio    %.3f\n", worst);
    return absl::OkStatus();
  }

  absl::Status MeasureBytes() {
    for (const KvDtype kv_dtype : {KvDtype::kBf16, KvDtype::kFloat8}) {
      ASSIGN_OR_RETURN(const auto size, SizeOfGroupOfSeven(kv_dtype));
      const std::string suffix = kv_dtype == KvDtype::kFloat8 ? "_float8" : "";
      json_["bytes_per_token_head" + suffix] = size.first;
      json_["bytes_per_token_head_ratio" + suffix] = size.second;
      std::cout << absl::StreamFormat(
          "%s, 7 query heads a KV head of 128, 16 cuts: %.1f bytes a token and head, %.3f of K, V "
          "and Q in bf16\n",
          suffix.empty() ? "bf16  " : "float8", size.first, size.second);
    }
    return absl::OkStatus();
  }

  absl::Status MeasureFloat8() {
    const int64_t traces = absl::GetFlag(FLAGS_float8_traces);
    ASSIGN_OR_RETURN(std::vector<TokenizedPrompt> train, Prompts(traces, 2));
    ASSIGN_OR_RETURN(std::vector<TokenizedPrompt> held_out,
                     Prompts(std::max<int64_t>(1, traces / 4), 3));
    ASSIGN_OR_RETURN(
        const Float8Loss loss,
        MeasureFloat8Loss(*decoder_, model_, FixedPrompts(std::move(train)),
                          FixedPrompts(std::move(held_out)), absl::GetFlag(FLAGS_float8_steps)));
    json_["held_out_cost_bf16"] = loss.bf16_cost;
    json_["held_out_cost_float8"] = loss.float8_cost;
    json_["held_out_cost_float8_over_bf16"] = loss.float8_cost / loss.bf16_cost;
    json_["sent_bytes_per_token_head_bf16"] = loss.bf16_bytes_per_token_head;
    json_["sent_bytes_per_token_head_float8"] = loss.float8_bytes_per_token_head;
    std::cout << absl::StreamFormat(
        "held-out cost of agents trained on %d traces, %d steps: bf16 %.4f, float8 %.4f (%+.2f "
        "%%)\n",
        traces, absl::GetFlag(FLAGS_float8_steps), loss.bf16_cost, loss.float8_cost,
        100 * (loss.float8_cost / loss.bf16_cost - 1));
    return absl::OkStatus();
  }

  std::string text_path_;
  std::string text_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Decoder> decoder_;
  ModelInfo model_;
  nlohmann::ordered_json json_;
};

std::string UsageProblem() {
  const auto check = [](const char* name, int64_t value, int64_t least) {
    if (value >= least) return std::string();
    return absl::StrCat("flag --", name, ": value \"", value, "\": it must be at least ", least);
  };
  for (const std::string& problem :
       {check("prompts", absl::GetFlag(FLAGS_prompts), 1),
        check("rounds", absl::GetFlag(FLAGS_rounds), 1),
        check("max-new-tokens", absl::GetFlag(FLAGS_max_new_tokens), 1),
        check("threads", absl::GetFlag(FLAGS_threads), 1),
        check("float8-traces", absl::GetFlag(FLAGS_float8_traces), 0),
        check("float8-steps", absl::GetFlag(FLAGS_float8_steps), 1)}) {
    if (!problem.empty()) return problem;
  }
  return "";
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
  kvp::SetLogName("bench");
  kvp::SetMathThreads(absl::GetFlag(FLAGS_threads));
  return kvp::ExitStatus(kvp::CollectBench().Run());
}

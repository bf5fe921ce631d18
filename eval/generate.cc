// generate: continues a prompt, with the prompt's cache compressed if that is wanted.

#include <unistd.h>

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "eval/agents.h"
#include "eval/context_replay.h"
#include "eval/generation.h"
#include "llm/decoder.h"
#include "llm/decoder_flags.h"
#include "llm/model_tokenizer.h"
#include "llm/streaming_decoder.h"
#include "llm/tokenizer.h"
#include "policy/policy.h"
#include "policy/selection.h"
#include "util/command_line.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/math_threads.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

ABSL_FLAG(std::string, model, "", "Model directory in Hugging Face layout.");
ABSL_FLAG(std::string, prompt, "", "The text to continue.");
ABSL_FLAG(int64_t, max_new_tokens, 64, "Tokens to generate at most.");
ABSL_FLAG(double, temperature, 0, "0 takes the likeliest token; above, tokens are sampled.");
ABSL_FLAG(int64_t, top_k, 0, "Sample among the likeliest K tokens only; 0: all.");
ABSL_FLAG(double, top_p, 1, "Sample among the likeliest tokens that make up this probability.");
ABSL_FLAG(uint64_t, seed, 0, "Seed of the sampling and of policy random.");
ABSL_FLAG(std::string, agents, "", "agents.safetensors: compress with policy kvp.");
ABSL_FLAG(std::string, q_filters, "", "q_filters.safetensors, which policy q_filter needs.");
ABSL_FLAG(std::string, policy, "",
          "Compress with this policy, a name as in `kvp evaluate --help`; with --budget-tokens one "
          "that scores an entry once: kvp, random, streaming_llm, k_norm or q_filter.");
ABSL_FLAG(
    std::optional<double>, budget, std::nullopt,
    "Share of the prompt's cache that a policy keeps, in (0, 1]: of each head at least one "
    "entry. A share that is fewer than 20 entries keeps of the first 4 and the last 16 alone. "
    "Default: 0.25.");
ABSL_FLAG(std::optional<int64_t>, budget_tokens, std::nullopt,
          "Entries of each head that the cache holds, for ever: entries leave behind every "
          "--chunk-tokens of the prompt and every token that is generated. In the place of "
          "--budget; at least 20.");
ABSL_FLAG(int64_t, chunk_tokens, 512,
          "With --budget-tokens: tokens of the prompt that run before entries leave; the cache "
          "holds at most both together.");
ABSL_FLAG(
    std::string, logits, "",
    "Where the prompt's logits go: a safetensors file with fp32 \"logits\" [tokens, vocabulary].");
ABSL_FLAG(int64_t, threads, 1, "Threads.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(generate: continues a prompt and prints the continuation, and nothing else, on stdout.

With a policy the cache of the prompt, but for its last token, is compressed to the budget before that last token runs, so
that all generated tokens see the compressed cache only. The first 4 and the last 16 entries are kept before all others: a
budget of fewer than 20 entries keeps some of these and nothing else, and a prompt of one token isn't compressed.

With --budget-tokens the cache never holds more than so many entries of a head, however long the prompt and the continuation:
each entry is scored once, when it is written, and the lowest leave.

Examples:
  kvp generate --model MODEL --prompt "It was" --max-new-tokens 20
  kvp generate --model MODEL --prompt "It was" --temperature 0.8 --top-p 0.95 --seed 7
  kvp generate --model MODEL --prompt "It was" --agents agents.safetensors --budget 0.125
  kvp generate --model MODEL --prompt "It was" --policy ada:snap_kv --budget 0.25
  kvp generate --model MODEL --prompt "It was" --agents agents.safetensors --budget-tokens 512 --max-new-tokens 20000 \
      --max-model-len 32768
  kvp generate --model MODEL --prompt "It was" --max-new-tokens 0 --logits logits.safetensors)";

constexpr double kDefaultBudget = 0.25;

// INVALID_ARGUMENT where the policy and the flags that are there for some don't go together.
absl::Status CheckPolicyFlags(const std::string& name) {
  const auto invalid = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(parts...));
  };
  const absl::StatusOr<PolicyInfo> info = FindPolicy(name);
  if (!info.ok()) return invalid("--policy: ", info.status().message());
  if (info->importance) return invalid("--policy: ", name, " needs to know the future");
  for (const auto& [flag, value] : {std::pair("agents", absl::GetFlag(FLAGS_agents)),
                                    std::pair("q-filters", absl::GetFlag(FLAGS_q_filters))}) {
    if (info->file == flag && value.empty()) return invalid("--policy: ", name, " needs --", flag);
    if (info->file != flag && !value.empty()) {
      return invalid("--policy: ", name, " has no use for --", flag);
    }
  }
  const std::optional<int64_t> tokens = absl::GetFlag(FLAGS_budget_tokens);
  if (!tokens) {
    const std::string misplaced = MisplacedFlag({"chunk-tokens"}, "without --budget-tokens");
    return misplaced.empty() ? absl::OkStatus() : invalid(misplaced);
  }
  if (absl::GetFlag(FLAGS_budget)) {
    return invalid("--budget and --budget-tokens exclude each other");
  }
  if (!info->scores_once) {
    return invalid("--budget-tokens: policy ", name,
                   " can't score entries one by one, as they are written");
  }
  const ProtectedTokens protected_tokens;
  if (const int64_t least = protected_tokens.sinks + protected_tokens.recent; *tokens < least) {
    return invalid("--budget-tokens: ", *tokens, " is below ", least,
                   ", the first 4 and the last 16 entries");
  }
  if (absl::GetFlag(FLAGS_chunk_tokens) < 1) {
    return invalid("--chunk-tokens: ", absl::GetFlag(FLAGS_chunk_tokens), " is below 1");
  }
  return absl::OkStatus();
}

// The policy's name, "" for none; INVALID_ARGUMENT for flags that don't go together.
absl::StatusOr<std::string> PolicyFromFlags() {
  const std::string agents = absl::GetFlag(FLAGS_agents);
  const std::string policy = absl::GetFlag(FLAGS_policy);
  const std::optional<double> budget = absl::GetFlag(FLAGS_budget);
  if (absl::GetFlag(FLAGS_model).empty()) return absl::InvalidArgumentError("--model is missing");
  if (absl::GetFlag(FLAGS_prompt).empty()) {
    return absl::InvalidArgumentError("--prompt is missing, or empty");
  }
  if (const std::string problem = DecoderUsageProblem(); !problem.empty()) {
    return absl::InvalidArgumentError(problem);
  }
  if (absl::GetFlag(FLAGS_threads) < 1 || absl::GetFlag(FLAGS_threads) > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("--threads: ", absl::GetFlag(FLAGS_threads), " isn't in [1, 1024]"));
  }
  if (absl::GetFlag(FLAGS_max_new_tokens) < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max-new-tokens: ", absl::GetFlag(FLAGS_max_new_tokens), " is below 0"));
  }
  const std::string name = policy.empty() && !agents.empty() ? "kvp" : policy;
  if (name.empty()) {
    for (const char* flag : {"budget", "budget-tokens", "chunk-tokens"}) {
      if (IsFlagSet(flag)) {
        return absl::InvalidArgumentError(absl::StrCat("--", flag, " needs --agents or --policy"));
      }
    }
    if (IsFlagSet("q-filters")) {
      return absl::InvalidArgumentError("--q-filters needs --policy q_filter");
    }
    return name;
  }
  RETURN_IF_ERROR(CheckPolicyFlags(name));
  if (budget && !(*budget > 0 && *budget <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("--budget: ", *budget, " isn't in (0, 1]"));
  }
  return name;
}

absl::StatusOr<SamplingOptions> SamplingFromFlags() {
  SamplingOptions sampling;
  sampling.temperature = absl::GetFlag(FLAGS_temperature);
  sampling.top_k = absl::GetFlag(FLAGS_top_k);
  sampling.top_p = absl::GetFlag(FLAGS_top_p);
  sampling.seed = absl::GetFlag(FLAGS_seed);
  RETURN_IF_ERROR(sampling.Validate());
  return sampling;
}

absl::Status Run(const std::string& policy_name, const SamplingOptions& sampling) {
  RETURN_IF_ERROR(CheckOutputPaths({absl::GetFlag(FLAGS_logits)}));
  SetMathThreads(absl::GetFlag(FLAGS_threads));
  const std::string model = absl::GetFlag(FLAGS_model);
  ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> decoder,
                   Decoder::Load(model, DecoderOptionsFromFlags()));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   LoadModelTokenizer(model, decoder->config()));
  std::unique_ptr<Policy> policy;
  if (!policy_name.empty()) {
    const PolicyOptions files = {absl::GetFlag(FLAGS_agents), absl::GetFlag(FLAGS_q_filters)};
    if (!files.agents_path.empty()) {
      RETURN_IF_ERROR(CheckAgents(files.agents_path, *decoder).status());
    }
    if (!files.q_filters_path.empty()) {
      RETURN_IF_ERROR(CheckQFilters(files.q_filters_path, *decoder));
    }
    ASSIGN_OR_RETURN(policy, MakePolicy(policy_name, files));
  }

  const std::vector<int32_t> prompt = tokenizer->EncodeSequence(absl::GetFlag(FLAGS_prompt));
  GenerationOptions options;
  options.max_new_tokens = absl::GetFlag(FLAGS_max_new_tokens);
  options.sampling = sampling;
  const std::optional<int64_t> budget_tokens = absl::GetFlag(FLAGS_budget_tokens);
  if (policy != nullptr) {
    options.budget = absl::GetFlag(FLAGS_budget).value_or(kDefaultBudget);
    options.budget_tokens = budget_tokens.value_or(0);
    options.chunk_tokens = absl::GetFlag(FLAGS_chunk_tokens);
    options.replay_prompt = tokenizer->Encode(kReplayPrompt);
    const std::string budget_text =
        budget_tokens ? absl::StrCat(*budget_tokens, " entries") : absl::StrCat(options.budget);
    // Before the continuation: behind it, it would stand on its last line.
    options.on_compressed = [&policy, budget_text](int64_t cache_bytes, int64_t full_cache_bytes) {
      LogInfo(absl::StrCat("policy ", policy->name(), ", budget ", budget_text, ": ", cache_bytes,
                           " of ", full_cache_bytes, " cache bytes kept"));
    };
  }
  const std::string logits_path = absl::GetFlag(FLAGS_logits);
  options.prompt_logits = !logits_path.empty();
  const int64_t length = static_cast<int64_t>(prompt.size()) + options.max_new_tokens;
  if (length > decoder->config().max_positions) {
    LogWarning(absl::StrCat(prompt.size(), " prompt tokens and ", options.max_new_tokens,
                            " new ones exceed the ", decoder->config().max_positions,
                            " positions that the model was trained for"));
  }

  StreamingDecoder stream(tokenizer.get(), /*continues=*/true);
  absl::Status decoded;
  options.on_token = [&](int32_t token) {
    const absl::StatusOr<std::string> text = stream.Push(token);
    if (text.ok()) {
      std::cout << *text << std::flush;
    } else if (decoded.ok()) {
      decoded = text.status();
    }
  };
  ASSIGN_OR_RETURN(const Generation generation,
                   budget_tokens ? GenerateWithinBudget(*decoder, prompt, *policy, options)
                                 : GenerateCompressed(*decoder, prompt, policy.get(), options));
  std::cout << stream.Finish();
  // A shell's prompt should begin on its own line; a file or a pipe gets the continuation alone.
  if (isatty(STDOUT_FILENO)) std::cout << "\n";
  std::cout << std::flush;
  RETURN_IF_ERROR(decoded);
  if (!std::cout) return absl::UnavailableError("stdout: can't write");
  if (!logits_path.empty()) {
    RETURN_IF_ERROR(WriteTensors(logits_path, {{"logits", generation.prompt_logits}}));
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  TuneMallocForLargeBuffers();
  const auto positional = ParseCommandLine(argc, argv, kUsage);
  if (!positional.empty()) return UsageError("unexpected argument " + positional[0]);
  const absl::StatusOr<std::string> name = PolicyFromFlags();
  if (!name.ok()) return UsageError(name.status().message());
  const absl::StatusOr<SamplingOptions> sampling = SamplingFromFlags();
  if (!sampling.ok()) return UsageError(FlagMessage(sampling.status().message()));
  SetLogName("generate");
  return ExitStatus(Run(*name, *sampling));
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) { return kvp::Main(argc, argv); }

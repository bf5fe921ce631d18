#include "eval/evaluation.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "eval/agents.h"
#include "eval/bootstrap.h"
#include "eval/context_replay.h"
#include "eval/findings.h"
#include "eval/html.h"
#include "eval/offline.h"
#include "llm/model_tokenizer.h"
#include "llm/tokenizer.h"
#include "storage/trace_reader.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/math_threads.h"
#include "util/progress.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

double SecondsSince(absl::Time begin) { return absl::ToDoubleSeconds(absl::Now() - begin); }

// The directory's last component, with its parent's where that says nothing by itself.
std::string ModelName(const std::string& directory) {
  std::filesystem::path path = std::filesystem::absolute(directory).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const std::string name = path.filename().string();
  return name == "model" ? path.parent_path().filename().string() + "/" + name : name;
}

BootstrapOptions Bootstrap(const EvaluationOptions& options) {
  BootstrapOptions bootstrap;
  bootstrap.seed = options.seed;
  return bootstrap;
}

absl::Status RunOffline(const EvaluationOptions& options,
                        const std::vector<const Policy*>& policies, const Decoder& decoder,
                        Results& results) {
  const absl::Time begin = absl::Now();
  TraceReader::Options reader_options;
  reader_options.shards = options.shards;
  reader_options.tls = options.tls;
  reader_options.connect_deadline = options.connect_deadline;
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceReader> reader,
                   TraceReader::Connect(std::move(reader_options)));
  OfflineOptions offline;
  offline.budgets = options.budgets;
  offline.model_fingerprint = decoder.fingerprint();
  offline.bootstrap = Bootstrap(options);
  ASSIGN_OR_RETURN(const std::vector<const Policy*> able,
                   OfflinePolicies(*reader, policies, offline.split));
  // Policies that are named and can't run anywhere are refused, with what they miss.
  const bool refuse = able.empty() && options.text_path.empty();
  ASSIGN_OR_RETURN(OfflineResults found,
                   EvaluateOffline(*reader, refuse ? policies : able, offline));
  results.offline = std::move(found.policies);
  results.traces = found.traces;
  results.tokens = found.tokens;
  results.held_out_traces = found.held_out_traces;
  results.bytes_per_token = found.bytes_per_token;
  results.corrupt_blocks = found.corrupt_blocks;
  results.timing["offline_seconds"] = SecondsSince(begin);
  LogInfo(absl::StrFormat("offline: %d held-out traces in %.1f s", found.held_out_traces,
                          results.timing["offline_seconds"]));
  return absl::OkStatus();
}

// `policies`, less those that repeat the context where none were named and the model's length
// leaves no room to repeat `context_tokens`.
std::vector<const Policy*> WithRoom(const EvaluationOptions& options,
                                    const std::vector<const Policy*>& policies,
                                    const Decoder& decoder, size_t context_tokens,
                                    const std::vector<int32_t>& replay_prompt) {
  const absl::Status room = ReplayChunkTokens(decoder, static_cast<int64_t>(context_tokens),
                                              static_cast<int64_t>(replay_prompt.size()))
                                .status();
  if (!options.policies.empty() || room.ok()) return policies;
  std::vector<const Policy*> able;
  for (const Policy* policy : policies) {
    if (!policy->info().replay_attention) {
      able.push_back(policy);
    } else {
      LogInfo(absl::StrCat("policy ", policy->name(), " is left out: ", room.message()));
    }
  }
  return able;
}

absl::Status RunInModel(const EvaluationOptions& options,
                        const std::vector<const Policy*>& all_policies, const Decoder& decoder,
                        Results& results) {
  const absl::Time begin = absl::Now();
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   LoadModelTokenizer(options.model_directory, decoder.config()));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(options.text_path));
  std::vector<EvaluationPrompt> prompts;
  if (options.prompts > 0) {
    ASSIGN_OR_RETURN(prompts, RetrievalPrompts(*tokenizer, text, options.retrieval, options.prompts,
                                               options.seed));
  }
  std::vector<TextWindow> windows;
  if (options.windows.count > 0) {
    ASSIGN_OR_RETURN(windows, TextWindows(*tokenizer, text, options.windows, options.seed));
  }
  InModelOptions in_model;
  in_model.budgets = options.budgets;
  in_model.threads = options.threads;
  in_model.timed_sequences = options.timed_sequences;
  in_model.bootstrap = Bootstrap(options);
  in_model.replay_prompt = tokenizer->Encode(kReplayPrompt);
  size_t longest = 0;
  for (const EvaluationPrompt& prompt : prompts) longest = std::max(longest, prompt.context.size());
  for (const TextWindow& window : windows) longest = std::max(longest, window.context.size());
  const std::vector<const Policy*> policies =
      WithRoom(options, all_policies, decoder, longest, in_model.replay_prompt);
  Progress progress("sequences", static_cast<int64_t>(prompts.size() + windows.size()));
  in_model.progress = [&progress](int64_t done, int64_t total) {
    if (done < total) {
      progress.Update(done, "in the model");
    } else {
      progress.Finish(done, "in the model");
    }
  };
  ASSIGN_OR_RETURN(InModelResults found,
                   EvaluateInModel(decoder, prompts, windows, policies, in_model));
  results.in_model = std::move(found.policies);
  results.full_cache = std::move(found.full_cache);
  results.prompts = static_cast<int64_t>(prompts.size());
  results.context_tokens = found.context_tokens;
  results.text_windows = static_cast<int64_t>(windows.size());
  results.protected_sinks = in_model.protected_tokens.sinks;
  results.protected_recent = in_model.protected_tokens.recent;
  results.timing["prefill_ms"] = found.prefill_ms;
  results.timing["in_model_seconds"] = SecondsSince(begin);
  return absl::OkStatus();
}

}  // namespace

absl::Status EvaluationOptions::Validate() const {
  if (model_directory.empty()) return absl::InvalidArgumentError("--model is missing");
  if (shards.empty() && text_path.empty()) {
    return absl::InvalidArgumentError(
        "nothing to evaluate: --shards (traces) and --text (the model) are both missing");
  }
  for (const std::string& shard : shards) {
    if (shard.empty()) return absl::InvalidArgumentError("--shards: an address is empty");
  }
  if (connect_deadline < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--connect-deadline: ", absl::FormatDuration(connect_deadline), " is below 0"));
  }
  if (budgets.empty()) return absl::InvalidArgumentError("--budgets is empty");
  for (double budget : budgets) {
    if (!(budget > 0 && budget <= 1)) {
      return absl::InvalidArgumentError(absl::StrCat("--budgets: ", budget, " isn't in (0, 1]"));
    }
  }
  std::set<std::string> seen;
  for (const std::string& policy : policies) {
    const absl::StatusOr<PolicyInfo> info = FindPolicy(policy);
    if (!info.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--policies: ", info.status().message()));
    }
    if (!seen.insert(policy).second) {
      return absl::InvalidArgumentError(absl::StrCat("--policies: ", policy, " stands twice"));
    }
    const std::string& file = info->file == "agents" ? agents_path : q_filters_path;
    if (!info->file.empty() && file.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--policies: ", policy, " needs --", info->file));
    }
  }
  const auto check = [](const char* flag, int64_t value, int64_t least) {
    return value >= least ? absl::OkStatus()
                          : absl::InvalidArgumentError(
                                absl::StrCat("--", flag, ": ", value, " is below ", least));
  };
  RETURN_IF_ERROR(check("prompts-count", prompts, 0));
  RETURN_IF_ERROR(check("text-windows", windows.count, 0));
  RETURN_IF_ERROR(check("threads", threads, 1));
  if (!text_path.empty() && prompts == 0 && windows.count == 0) {
    return absl::InvalidArgumentError("--prompts-count and --text-windows are both 0");
  }
  return check("timed-sequences", timed_sequences, 0);
}

absl::StatusOr<Results> RunEvaluation(const EvaluationOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  const absl::Time begin = absl::Now();
  SetMathThreads(options.threads);
  Results results;
  if (!options.training_json_path.empty()) {
    ASSIGN_OR_RETURN(results.training_json, ReadFile(options.training_json_path));
    if (const absl::Status status = ResultsToJson(results).status(); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(options.training_json_path, ": ", status.message()));
    }
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> decoder,
                   Decoder::Load(options.model_directory, options.decoder));
  if (!options.agents_path.empty()) {
    ASSIGN_OR_RETURN(results.agents, CheckAgents(options.agents_path, *decoder));
  }
  if (!options.q_filters_path.empty()) {
    RETURN_IF_ERROR(CheckQFilters(options.q_filters_path, *decoder));
  }
  ASSIGN_OR_RETURN(const std::vector<std::unique_ptr<Policy>> owned,
                   MakePolicies(options.policies, {options.agents_path, options.q_filters_path}));
  std::vector<const Policy*> policies;
  for (const std::unique_ptr<Policy>& policy : owned) policies.push_back(policy.get());

  const ModelConfig& config = decoder->config();
  results.model = ModelName(options.model_directory);
  results.model_facts = {decoder->fingerprint(), config.layers,
                         config.query_heads,     config.kv_heads,
                         config.head_dim,        absl::StrJoin(options.decoder.devices, ","),
                         options.decoder.dtype};
  results.seed = options.seed;
  results.threads = options.threads;
  results.confidence = Bootstrap(options).confidence;
  results.bootstrap_resamples = Bootstrap(options).resamples;
  for (const Policy* policy : policies) {
    if (policy->info().reads_entries_only()) results.entries_only.insert(policy->name());
  }
  results.timing["load_seconds"] = SecondsSince(begin);
  if (!options.shards.empty()) RETURN_IF_ERROR(RunOffline(options, policies, *decoder, results));
  if (!options.text_path.empty()) RETURN_IF_ERROR(RunInModel(options, policies, *decoder, results));
  results.timing["total_seconds"] = SecondsSince(begin);
  return results;
}

std::string SummaryText(const Results& results) {
  std::string text = absl::StrCat(Headline(results), "\n");
  const auto marked = [&results](const std::string& policy) {
    return absl::StrCat(policy, results.entries_only.count(policy) > 0 ? " *" : "");
  };
  const auto table = [&text, &marked](absl::string_view title, const auto& policies,
                                      const auto& cells) {
    absl::StrAppend(&text, "\n", title, "\n");
    bool first = true;
    for (const auto& [policy, value] : policies) {
      const ByBudget<std::string> row = cells(value);
      if (first) {
        absl::StrAppendFormat(&text, "  %-18s", "");
        for (const auto& [budget, cell] : row)
          absl::StrAppendFormat(&text, "%10s", BudgetText(budget));
        text += "\n";
      }
      first = false;
      absl::StrAppendFormat(&text, "  %-18s", marked(policy));
      for (const auto& [budget, cell] : row) absl::StrAppendFormat(&text, "%10s", cell);
      text += "\n";
    }
  };
  const auto in_model = [](const auto& format) {
    return [format](const ByBudget<CacheResult>& cells) {
      ByBudget<std::string> row;
      for (const auto& [budget, cell] : cells) row[budget] = format(cell);
      return row;
    };
  };
  if (results.full_cache.questions > 0) {
    table(
        absl::StrCat("answers right (whole cache: ", PercentText(results.full_cache.accuracy), ")"),
        results.in_model,
        in_model([](const CacheResult& cell) { return PercentText(cell.accuracy); }));
  }
  if (!results.offline.empty()) {
    table("future attention kept", results.offline, [](const PolicyOffline& policy) {
      ByBudget<std::string> row;
      for (const auto& [budget, share] : policy.retained) row[budget] = PercentText(share);
      return row;
    });
    text += "\ncost (1 is the oracle)\n";
    for (const auto& [policy, offline] : results.offline) {
      absl::StrAppendFormat(&text, "  %-18s%10.3f\n", marked(policy), offline.cost);
    }
  }
  if (results.full_cache.perplexity_tokens > 0) {
    table(absl::StrFormat("perplexity (whole cache: %.2f)", results.full_cache.perplexity),
          results.in_model,
          in_model([](const CacheResult& cell) { return NumberText(cell.perplexity, 2); }));
  }
  if (!results.entries_only.empty()) {
    text += "\n* reads keys, values and positions only, as kvp does\n";
  }
  return text;
}

}  // namespace kvp

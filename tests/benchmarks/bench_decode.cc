// `kvp bench decode`: a long generation within a fixed budget, in time and memory.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "llm/decoder.h"
#include "nlohmann/json.hpp"
#include "policy/policy.h"
#include "tests/benchmarks/disk.h"
#include "tests/benchmarks/steady_decode.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/math_threads.h"
#include "util/status_macros.h"

ABSL_FLAG(std::string, model, "", "Model directory; empty: the embedded model.");
ABSL_FLAG(std::string, policy, "kvp", "A policy that scores an entry once.");
ABSL_FLAG(std::string, agents, "",
          "agents.safetensors for policy kvp; empty: agents of width 64 that nobody trained, whose "
          "work is the same.");
ABSL_FLAG(std::string, q_filters, "", "q_filters.safetensors for policy q_filter.");
ABSL_FLAG(int64_t, tokens, 20000, "Tokens to generate.");
ABSL_FLAG(int64_t, budget_tokens, 512, "Entries of each head that the cache holds.");
ABSL_FLAG(int64_t, segments, 10, "Parts into which the tokens behind the budget are taken apart.");
ABSL_FLAG(int64_t, threads, 1, "Compute threads.");
ABSL_FLAG(std::string, json, "", "Write the results to this file.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(bench decode: generates tokens one by one within a fixed number of cache entries, each scored once when it is written,
the lowest leaving; says what a token takes and how large the process is, segment by segment, once the budget is reached.

Example:
  bench_decode --agents out/quickstart/agents.safetensors --json decode.json)";

absl::StatusOr<std::string> ModelPath() {
  if (const std::string flag = absl::GetFlag(FLAGS_model); !flag.empty()) return flag;
  const std::string path = "llm/embedded/model";
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
  for (const std::string& candidate : {path, absl::StrCat(self, ".runfiles/kvp/", path)}) {
    if (std::filesystem::exists(candidate, error)) return candidate;
  }
  return absl::NotFoundError(
      absl::StrCat(path, ": neither here nor beside ", self, "; say --model"));
}

absl::Status Run() {
  const int64_t tokens = absl::GetFlag(FLAGS_tokens);
  const int64_t budget = absl::GetFlag(FLAGS_budget_tokens);
  ASSIGN_OR_RETURN(const std::string model, ModelPath());
  Decoder::Options options;
  options.max_model_len = tokens;
  ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> decoder, Decoder::Load(model, options));
  ASSIGN_OR_RETURN(const BenchFolder folder, BenchFolder::Make());
  const std::string name = absl::GetFlag(FLAGS_policy);
  PolicyOptions files = {absl::GetFlag(FLAGS_agents), absl::GetFlag(FLAGS_q_filters)};
  if (name == "kvp" && files.agents_path.empty()) {
    files.agents_path = folder.path() + "/agents.safetensors";
    RETURN_IF_ERROR(SaveUntrainedAgents(*decoder, files.agents_path));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Policy> policy, MakePolicy(name, files));
  ASSIGN_OR_RETURN(
      const std::vector<DecodeSegment> segments,
      MeasureSteadyDecode(*decoder, *policy, budget, tokens, absl::GetFlag(FLAGS_segments)));
  nlohmann::ordered_json json;
  json["policy"] = name;
  json["tokens"] = tokens;
  json["budget_tokens"] = budget;
  const DecodeSegment& first = segments.front();
  double largest_rss_change = 0;
  double least_ms = first.ms_per_token;
  double most_ms = first.ms_per_token;
  for (size_t i = 0; i < segments.size(); ++i) {
    const DecodeSegment& segment = segments[i];
    const double rss = static_cast<double>(segment.resident_bytes);
    const double change = rss / static_cast<double>(first.resident_bytes) - 1;
    if (std::abs(change) > std::abs(largest_rss_change)) largest_rss_change = change;
    least_ms = std::min(least_ms, segment.ms_per_token);
    most_ms = std::max(most_ms, segment.ms_per_token);
    json["ms_per_token"].push_back(segment.ms_per_token);
    json["cpu_ms_per_token"].push_back(segment.cpu_ms_per_token);
    json["resident_bytes"].push_back(segment.resident_bytes);
    json["cache_bytes"].push_back(segment.cache_bytes);
    std::cout << absl::StreamFormat(
        "segment %2d: %.3f ms/token, %.1f MB resident, cache %d bytes\n", i + 1,
        segment.ms_per_token, rss / 1e6, segment.cache_bytes);
  }
  json["resident_change"] = largest_rss_change;
  json["ms_per_token_last_over_first"] = segments.back().ms_per_token / first.ms_per_token;
  json["ms_per_token_most_over_least"] = most_ms / least_ms;
  std::cout << absl::StreamFormat(
      "resident memory changed by at most %+.2f %%; the last segment's token took %.3f times the "
      "first's\n",
      100 * largest_rss_change, segments.back().ms_per_token / first.ms_per_token);
  const std::string path = absl::GetFlag(FLAGS_json);
  if (path.empty()) return absl::OkStatus();
  return WriteFileAtomically(path, {json.dump(2), "\n"});
}

std::string UsageProblem() {
  for (const auto& [name, value] : {std::pair("tokens", absl::GetFlag(FLAGS_tokens)),
                                    std::pair("segments", absl::GetFlag(FLAGS_segments)),
                                    std::pair("threads", absl::GetFlag(FLAGS_threads))}) {
    if (value < 1) {
      return absl::StrCat("flag --", name, ": value \"", value, "\": it must be at least 1");
    }
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
  return kvp::ExitStatus(kvp::Run());
}

// The whole pipeline on the embedded model, through the tools that users run: `kvp launch` of a
// small job, then `kvp inspect`, `kvp generate` and a second launch over the same traces.

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/run_command.h"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

namespace fs = std::filesystem;

const std::vector<std::string>& Policies() {
  static const auto& policies = *new std::vector<std::string>{
      "kvp", "oracle", "random", "streaming_llm", "k_norm", "key_diff"};
  return policies;
}

constexpr const char* kBudgets[] = {"0.5", "0.25", "0.125", "0.0625"};
constexpr int kTrainTraces = 16;
constexpr int kHeldOutTraces = 6;

std::string ModelPath() { return fs::canonical(RunfilePath("llm/embedded/model")).string(); }

CommandResult Kvp(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), RunfilePath("launcher/kvp"));
  absl::StatusOr<CommandResult> result = RunCommand(arguments);
  EXPECT_OK(result);
  return result.ok() ? *std::move(result) : CommandResult{-1, "", ""};
}

CommandResult Launch(const std::string& output, const std::vector<std::string>& overrides) {
  std::vector<std::string> arguments = {"launch", RunfilePath("launcher/jobs/quickstart.textproto"),
                                        "--output", output};
  for (const std::string& override_text : overrides) {
    arguments.insert(arguments.end(), {"--set", override_text});
  }
  return Kvp(arguments);
}

std::vector<std::string> SmallJob(int ranks) {
  return {absl::StrCat("datasets[0].generated.count=", kTrainTraces),
          absl::StrCat("datasets[1].generated.count=", kHeldOutTraces),
          "trainers.steps=60",
          absl::StrCat("trainers.ranks=", ranks),
          "trainers.eval_every=20",
          "evaluation.prompts=4"};
}

// One job for all tests: what it makes is looked at from several sides.
class EndToEndTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    output_ = testing::TempDir() + "/run";
    fs::remove_all(output_);
    const CommandResult result = Launch(output_, SmallJob(/*ranks=*/2));
    ASSERT_EQ(result.exit_status, 0) << result.output << result.errors;
    const absl::StatusOr<std::string> text = ReadFile(output_ + "/results.json");
    ASSERT_OK(text);
    results_ = Json::parse(*text, nullptr, false);
    ASSERT_FALSE(results_.is_discarded()) << *text;
  }

  static void ExpectMeasured(const Json& in_model, const std::string& what) {
    for (const char* key : {"accuracy", "perplexity", "cache_bytes", "score_ms", "compact_ms",
                            "decode_ms_per_token"}) {
      EXPECT_TRUE(in_model.contains(key) && in_model[key].is_number()) << what << ": " << key;
    }
    EXPECT_TRUE(in_model.contains("tasks") && in_model["tasks"].contains("retrieval")) << what;
  }

  static std::string output_;
  static Json results_;
};

std::string EndToEndTest::output_;
Json EndToEndTest::results_;

TEST_F(EndToEndTest, ResultsHaveEveryPolicyAtEveryBudget) {
  EXPECT_EQ(results_["model"], "embedded/model");
  EXPECT_EQ(results_["traces"], kTrainTraces + kHeldOutTraces);
  EXPECT_GT(results_["tokens"], 900 * (kTrainTraces + kHeldOutTraces));
  EXPECT_TRUE(results_["timing"].is_object());
  EXPECT_GT(results_["bytes_per_token"].get<double>(), 0);
  ExpectMeasured(results_["full_cache"], "full_cache");
  for (const std::string& policy : Policies()) {
    EXPECT_GE(results_["offline"][policy]["cost"].get<double>(), 1 - 1e-6) << policy;
    for (const char* budget : kBudgets) {
      const double retained = results_["offline"][policy]["retained"][budget];
      EXPECT_GT(retained, 0) << policy << " at " << budget;
      EXPECT_LE(retained, 1 + 1e-6) << policy << " at " << budget;
      ExpectMeasured(results_["in_model"][policy][budget], policy + " at " + budget);
    }
  }
}

TEST_F(EndToEndTest, TheOracleIsTheBestAndTheAgentsBeatChanceOnHeldOutTraces) {
  const Json& offline = results_["offline"];
  EXPECT_NEAR(offline["oracle"]["cost"].get<double>(), 1, 1e-6);
  for (const char* budget : kBudgets) {
    for (const std::string& policy : Policies()) {
      EXPECT_GE(offline["oracle"]["retained"][budget].get<double>(),
                offline[policy]["retained"][budget].get<double>() - 1e-6)
          << policy << " at " << budget;
    }
    EXPECT_GT(offline["kvp"]["retained"][budget].get<double>(),
              offline["random"]["retained"][budget].get<double>())
        << "at " << budget;
  }
}

TEST_F(EndToEndTest, TheCacheShrinksToTheBudgetsShare) {
  const double full = results_["full_cache"]["cache_bytes"];
  for (const char* budget : kBudgets) {
    const double kept = results_["in_model"]["kvp"][budget]["cache_bytes"];
    EXPECT_NEAR(kept / full, std::stod(budget), 0.005) << "at " << budget;
  }
}

TEST_F(EndToEndTest, TheReportIsOneFileThatNamesEveryPolicy) {
  ASSERT_OK_AND_ASSIGN(const std::string report, ReadFile(output_ + "/report.html"));
  EXPECT_THAT(report, HasSubstr("<svg"));
  EXPECT_THAT(report, Not(HasSubstr("src=\"http")));
  for (const std::string& policy : Policies()) EXPECT_THAT(report, HasSubstr(policy));
}

TEST_F(EndToEndTest, InspectShowsTheAgentsAndFindsTheTracesIntact) {
  const CommandResult agents = Kvp({"inspect", output_ + "/agents.safetensors"});
  EXPECT_EQ(agents.exit_status, 0) << agents.errors;
  EXPECT_THAT(agents.output, HasSubstr("exact"));
  const std::string json = testing::TempDir() + "/shard.json";
  const CommandResult shard = Kvp({"inspect", output_ + "/shards/0", "--verify", "--json", json});
  EXPECT_EQ(shard.exit_status, 0) << shard.errors;
  EXPECT_TRUE(Json::parse(*ReadFile(json), nullptr, false).is_object());
}

TEST_F(EndToEndTest, GenerateWithAgentsContinuesThePromptFromASmallerCache) {
  const std::string prompt =
      "She was very glad to see him, and he was glad to see her. It was a fine day, and they "
      "walked "
      "to the village together, and talked of the ball, and of the people whom they had met there.";
  const std::string logits = testing::TempDir() + "/logits.safetensors";
  const std::vector<std::string> base = {"generate", "--model",       ModelPath(),
                                         "--prompt", prompt,          "--max-new-tokens",
                                         "8",        "--temperature", "0"};
  std::vector<std::string> full = base;
  full.insert(full.end(), {"--logits", logits});
  const CommandResult first = Kvp(full);
  ASSERT_EQ(first.exit_status, 0) << first.errors;
  EXPECT_FALSE(first.output.empty());
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(logits));
  ASSERT_OK_AND_ASSIGN(const SafetensorsEntry* entry, file->Find("logits"));
  EXPECT_EQ(entry->dtype, "F32");
  EXPECT_EQ(entry->shape.size(), 2);

  std::vector<std::string> evicting = base;
  evicting.insert(evicting.end(), {"--agents", output_ + "/agents.safetensors", "--budget", "0.5"});
  const CommandResult second = Kvp(evicting);
  EXPECT_EQ(second.exit_status, 0) << second.errors;
  EXPECT_FALSE(second.output.empty());

  evicting.back() = "1";
  EXPECT_EQ(Kvp(evicting).output, first.output) << "a budget of 1 keeps everything";
}

TEST_F(EndToEndTest, OneRankTrainsTheSameAgentsFromTheSameTracesByteForByte) {
  const std::string again = testing::TempDir() + "/again";
  fs::remove_all(again);
  ASSERT_OK(MakeDirectories(again));
  fs::copy(output_ + "/shards", again + "/shards", fs::copy_options::recursive);
  std::vector<std::string> overrides = SmallJob(/*ranks=*/1);
  overrides.push_back("evaluation=");
  const CommandResult result = Launch(again, overrides);
  ASSERT_EQ(result.exit_status, 0) << result.output << result.errors;
  ASSERT_OK_AND_ASSIGN(const std::string two_ranks, ReadFile(output_ + "/agents.safetensors"));
  ASSERT_OK_AND_ASSIGN(const std::string one_rank, ReadFile(again + "/agents.safetensors"));
  EXPECT_TRUE(two_ranks == one_rank) << "agents of 2 ranks and of 1 rank differ";
}

}  // namespace
}  // namespace kvp

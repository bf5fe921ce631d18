// The embedded job as it ships: the agents it trains are better than every heuristic on held-out
// traces, and keep the model's answers where the heuristics lose them.

#include <filesystem>
#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/run_command.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

constexpr const char* kBudgets[] = {"0.5", "0.25", "0.125", "0.0625"};
constexpr const char* kHeuristics[] = {"random", "streaming_llm", "k_norm", "key_diff"};

TEST(QuickstartTest, TheAgentsBeatEveryHeuristicAndKeepTheModelsAnswers) {
  const std::string output = testing::TempDir() + "/quickstart";
  std::filesystem::remove_all(output);
  ASSERT_OK_AND_ASSIGN(
      const CommandResult run,
      RunCommand({RunfilePath("launcher/kvp"), "launch",
                  RunfilePath("launcher/jobs/quickstart.textproto"), "--output", output}));
  ASSERT_EQ(run.exit_status, 0) << run.output << run.errors;
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(output + "/results.json"));
  const Json results = Json::parse(text);

  const Json& offline = results["offline"];
  const Json& in_model = results["in_model"];
  const double full = results["full_cache"]["accuracy"];
  EXPECT_GE(full, 0.95);
  const auto accuracy = [&](const char* policy, const char* budget) {
    return in_model[policy][budget]["accuracy"].get<double>();
  };
  for (const char* heuristic : kHeuristics) {
    EXPECT_LT(offline["kvp"]["cost"].get<double>(), offline[heuristic]["cost"].get<double>())
        << heuristic;
    for (const char* budget : kBudgets) {
      EXPECT_GT(offline["kvp"]["retained"][budget].get<double>(),
                offline[heuristic]["retained"][budget].get<double>())
          << heuristic << " at " << budget;
      if (std::string(budget) != "0.5") {
        EXPECT_GT(accuracy("kvp", budget), accuracy(heuristic, budget))
            << heuristic << " at " << budget;
      }
    }
  }
  EXPECT_GE(accuracy("kvp", "0.25"), 0.97 * full);
  EXPECT_GE(accuracy("kvp", "0.125"), 0.90 * full);
}

}  // namespace
}  // namespace kvp

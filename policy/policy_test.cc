#include "policy/policy.h"

#include <algorithm>
#include <map>
#include <set>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "policy/agent_file.h"
#include "policy/agent_network.h"
#include "policy/heuristics/cur.h"
#include "policy/heuristics/expected_attention.h"
#include "policy/heuristics/h2o.h"
#include "policy/heuristics/k_norm.h"
#include "policy/heuristics/key_diff.h"
#include "policy/heuristics/lag_kv.h"
#include "policy/heuristics/leverage.h"
#include "policy/heuristics/random_scores.h"
#include "policy/heuristics/snap_kv.h"
#include "policy/heuristics/streaming_llm.h"
#include "policy/heuristics/tova.h"
#include "policy/q_filter_file.h"
#include "policy/seeded_random.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kHeadDim = 4;

PolicyInput Input(std::vector<HeadId> heads, int64_t tokens) {
  PolicyInput input;
  const int64_t count = static_cast<int64_t>(heads.size());
  input.heads = std::move(heads);
  input.keys = SeededUniform({count, tokens, kHeadDim}, 1) - 0.5;
  input.values = SeededUniform({count, tokens, kHeadDim}, 2) - 0.5;
  input.positions = at::arange(tokens, at::kLong);
  input.importance = SeededUniform({count, tokens}, 3);
  input.replay_attention = SeededUniform({count, tokens}, 4);
  constexpr int64_t kGroup = 3;
  input.queries.recent = SeededNormal({count, kGroup, std::min<int64_t>(tokens, 64), kHeadDim}, 5);
  input.queries.attention_sums = SeededUniform({count, tokens}, 6);
  input.queries.means = SeededNormal({count, kGroup, kHeadDim}, 7);
  input.queries.covariances = at::eye(kHeadDim).expand({count, kGroup, kHeadDim, kHeadDim});
  input.queries.scale = 0.5;
  input.queries.windows.assign(static_cast<size_t>(count), 0);
  input.rope_frequencies = {0.3};
  return input;
}

AgentFile Agents() {
  AgentFile agents;
  agents.shape.head_dim = kHeadDim;
  agents.shape.width = 8;
  agents.layers = 2;
  agents.kv_heads = 2;
  agents.parameters = InitialParameters(agents.shape, 0, 4, 1);
  return agents;
}

std::string SavedAgents() {
  const std::string path = absl::StrCat(testing::TempDir(), "/policy_test_agents.safetensors");
  EXPECT_OK(SaveAgents(path, Agents()));
  return path;
}

QFilterFile QFilters() {
  QFilterFile file;
  file.filters = SeededNormal({2, 2, kHeadDim}, 9);
  return file;
}

PolicyOptions AllFiles() {
  const std::string path = absl::StrCat(testing::TempDir(), "/policy_test_filters.safetensors");
  EXPECT_OK(SaveQFilters(path, QFilters()));
  return {SavedAgents(), path};
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names = PolicyNames();
  for (const PolicyInfo& info : Policies()) {
    if (info.spread == BudgetSpread::kEven) names.push_back("ada:" + info.name);
  }
  return names;
}

TEST(PolicyTest, EveryNameScoresEveryEntryOfEveryHead) {
  EXPECT_EQ(PolicyNames().size(), 16);
  for (const std::string& name : AllNames()) {
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Policy> policy, MakePolicy(name, AllFiles()));
    EXPECT_EQ(policy->name(), name);
    for (const int64_t tokens : {1, 9, 300}) {
      ASSERT_OK_AND_ASSIGN(const at::Tensor scores, policy->Score(Input({{0, 1}, {1, 0}}, tokens)));
      EXPECT_EQ(scores.sizes(), at::IntArrayRef({2, tokens})) << name;
      EXPECT_TRUE(scores.is_floating_point()) << name;
      EXPECT_FALSE(scores.requires_grad()) << name;
      EXPECT_FALSE(scores.isnan().any().item<bool>()) << name;
    }
  }
}

TEST(PolicyTest, EveryNameIsItsOwnFormula) {
  const PolicyInput input = Input({{0, 1}, {1, 0}}, 300);
  const std::map<std::string, at::Tensor> formulas = {
      {"oracle", input.importance},
      {"random", RandomScores(input)},
      {"streaming_llm", StreamingLlmScores(input)},
      {"k_norm", KNormScores(input)},
      {"key_diff", KeyDiffScores(input)},
      {"lag_kv", LagKvScores(input)},
      {"cur", CurScores(input)},
      {"leverage", LeverageScores(input)},
      {"h2o", H2oScores(input)},
      {"tova", TovaScores(input)},
      {"snap_kv", SnapKvScores(input)},
      {"pyramid_kv", SnapKvScores(input)},
      {"expected_attention", ExpectedAttentionScores(input)},
      {"kv_zip", input.replay_attention},
  };
  // Those of files have tests of their own, below.
  std::set<std::string> others(PolicyNames().begin(), PolicyNames().end());
  for (const auto& [name, expected] : formulas) {
    EXPECT_EQ(others.erase(name), 1);
    for (const std::string prefix : {"", "ada:"}) {
      if (!FindPolicy(prefix + name).ok()) continue;
      ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy(prefix + name));
      ASSERT_OK_AND_ASSIGN(const at::Tensor scores, policy->Score(input));
      EXPECT_TRUE(at::equal(scores, expected)) << prefix << name;
    }
  }
  EXPECT_THAT(others, testing::ElementsAre("kvp", "q_filter"));
}

TEST(PolicyTest, WhatIsScoredOnceIsScoredTheSameAlone) {
  for (const std::string& name : AllNames()) {
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Policy> policy, MakePolicy(name, AllFiles()));
    const PolicyInput whole = Input({{0, 1}, {1, 0}}, 300);
    PolicyInput part = whole;
    part.keys = whole.keys.narrow(1, 200, 1);
    part.values = whole.values.narrow(1, 200, 1);
    part.positions = whole.positions.narrow(0, 200, 1);
    if (!policy->info().scores_once) continue;
    part.queries = {};
    part.importance = part.replay_attention = at::Tensor();
    ASSERT_OK_AND_ASSIGN(const at::Tensor all, policy->Score(whole));
    ASSERT_OK_AND_ASSIGN(const at::Tensor one, policy->Score(part));
    EXPECT_TRUE(at::allclose(one, all.narrow(1, 200, 1), 1e-5, 1e-5)) << name;
  }
}

TEST(PolicyTest, WhatAPolicyNeedsIsNamedWhereItIsMissing) {
  const auto without = [](const PolicyInfo& info) {
    PolicyInput input = Input({{0, 0}, {0, 1}}, 20);
    if (info.recent_queries) input.queries.recent = at::Tensor();
    if (info.attention_sums) input.queries.attention_sums = at::Tensor();
    if (info.query_moments) input.queries.means = at::Tensor();
    if (info.replay_attention) input.replay_attention = at::Tensor();
    if (info.importance) input.importance = at::Tensor();
    return input;
  };
  int refused = 0;
  for (const PolicyInfo& info : Policies()) {
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Policy> policy, MakePolicy(info.name, AllFiles()));
    const absl::Status status = policy->Score(without(info)).status();
    if (!info.reads_queries() && !info.replay_attention && !info.importance) {
      EXPECT_OK(status);
      continue;
    }
    ++refused;
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 testing::AllOf(HasSubstr(info.name), HasSubstr("needs"))));
  }
  EXPECT_EQ(refused, 7);
  ASSERT_OK_AND_ASSIGN(const auto snap_kv, MakePolicy("snap_kv"));
  PolicyInput input = Input({{0, 0}}, 20);
  input.queries.recent = at::zeros({1, 3, 20, kHeadDim + 1});
  EXPECT_THAT(snap_kv->Score(input), StatusIs(absl::StatusCode::kInvalidArgument,
                                              HasSubstr("last tokens: [1, 3, 20, 5]")));
}

TEST(PolicyTest, PoliciesThatReadEntriesOnlyScoreFromThemAlone) {
  const PolicyInput whole = Input({{0, 1}, {1, 0}}, 300);
  PolicyInput entries = whole;
  entries.queries = {};
  entries.importance = entries.replay_attention = at::Tensor();
  int64_t entries_only = 0;
  for (const std::string& name : AllNames()) {
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Policy> policy, MakePolicy(name, AllFiles()));
    const absl::StatusOr<at::Tensor> scores = policy->Score(entries);
    EXPECT_EQ(scores.ok(), policy->info().reads_entries_only()) << name;
    if (!scores.ok()) continue;
    ++entries_only;
    EXPECT_TRUE(at::equal(*scores, *policy->Score(whole))) << name;
  }
  EXPECT_GE(entries_only, 9);
}

TEST(PolicyTest, BudgetsAreSpreadAsThePolicySays) {
  const PolicyInput input = Input({{0, 0}, {0, 1}, {1, 0}, {1, 1}}, 40);
  at::Tensor scores = SeededUniform({4, 40}, 1);
  scores[1].add_(5);
  scores[3].add_(9);
  const auto budgets = [&](const std::string& name) {
    return *(*MakePolicy(name))->HeadBudgets(input, scores, 10, ProtectedTokens{0, 0});
  };
  using testing::ElementsAre;
  EXPECT_THAT(budgets("key_diff"), ElementsAre(10, 10, 10, 10));
  EXPECT_THAT(budgets("pyramid_kv"), ElementsAre(19, 19, 1, 1));
  EXPECT_THAT(budgets("ada:key_diff"), ElementsAre(2, 18, 2, 18));
  EXPECT_THAT(budgets("kv_zip"), ElementsAre(1, 1, 1, 37));
  EXPECT_THAT((*MakePolicy("key_diff"))->HeadBudgets(input, scores, 41, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("budget 41")));
}

TEST(PolicyTest, QFilterUsesTheFilterOfEachHead) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("q_filter", AllFiles()));
  const PolicyInput input = Input({{1, 1}, {0, 1}}, 8);
  ASSERT_OK_AND_ASSIGN(const at::Tensor scores, policy->Score(input));
  EXPECT_TRUE(at::allclose(scores[0], at::mv(input.keys[0], QFilters().filters[1][1]), 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(scores[1], at::mv(input.keys[1], QFilters().filters[0][1]), 1e-5, 1e-5));
  EXPECT_THAT(policy->Score(Input({{0, 2}}, 3)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("KV head 2")));
}

TEST(PolicyTest, KvpUsesTheAgentOfEachHead) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("kvp", {SavedAgents()}));
  const PolicyInput input = Input({{1, 1}, {0, 1}}, 5000);
  ASSERT_OK_AND_ASSIGN(const at::Tensor scores, policy->Score(input));
  const AgentFile agents = Agents();
  AgentParameters expected_parameters;
  for (const auto& [name, tensor] : agents.parameters) {
    expected_parameters[name] = at::stack({tensor[3], tensor[1]});
  }
  const at::Tensor expected =
      AgentScores(agents.shape, expected_parameters, input.keys, input.values, input.positions);
  EXPECT_TRUE(at::allclose(scores, expected, 1e-5, 1e-5));
}

TEST(PolicyTest, KvpRefusesHeadsAndDimensionsItWasNotTrainedFor) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("kvp", {SavedAgents()}));
  EXPECT_THAT(policy->Score(Input({{2, 0}}, 3)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layer 2")));
  PolicyInput input = Input({{0, 0}}, 3);
  input.keys = input.values = at::zeros({1, 3, 8});
  EXPECT_THAT(policy->Score(input),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("head_dim is 8")));
}

TEST(PolicyTest, KvpRefusesPositionsBeyondItsAgentsTable) {
  AgentFile agents = Agents();
  agents.shape.position_table = 7;
  agents.parameters = InitialParameters(agents.shape, 0, 4, 1);
  const std::string path = absl::StrCat(testing::TempDir(), "/policy_test_table.safetensors");
  ASSERT_OK(SaveAgents(path, agents));
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("kvp", {path}));
  EXPECT_OK(policy->Score(Input({{0, 0}}, 7)));
  EXPECT_THAT(policy->Score(Input({{0, 0}}, 8)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("position 7 is beyond")));
}

TEST(PolicyTest, TheOracleRanksByImportanceAndNeedsIt) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("oracle"));
  PolicyInput input = Input({{0, 0}}, 6);
  ASSERT_OK_AND_ASSIGN(const at::Tensor scores, policy->Score(input));
  EXPECT_TRUE(at::equal(scores, input.importance));
  input.importance = at::Tensor();
  EXPECT_THAT(policy->Score(input),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("oracle")));
}

TEST(PolicyTest, RandomFollowsTheSequenceSeed) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("random"));
  PolicyInput input = Input({{0, 0}}, 50);
  ASSERT_OK_AND_ASSIGN(const at::Tensor first, policy->Score(input));
  ASSERT_OK_AND_ASSIGN(const at::Tensor again, policy->Score(input));
  input.sequence_seed = 1;
  ASSERT_OK_AND_ASSIGN(const at::Tensor other, policy->Score(input));
  EXPECT_TRUE(at::equal(first, again));
  EXPECT_FALSE(at::equal(first, other));
}

TEST(PolicyTest, ShapesThatDisagreeAreRefused) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("k_norm"));
  PolicyInput input = Input({{0, 0}}, 5);
  input.values = at::zeros({1, 4, kHeadDim});
  EXPECT_THAT(policy->Score(input),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("k_norm")));
  input = Input({{0, 0}}, 5);
  input.positions = at::arange(4, at::kLong);
  EXPECT_THAT(policy->Score(input),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("positions")));
  input = Input({{0, 0}}, 5);
  input.heads.clear();
  EXPECT_THAT(policy->Score(input),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ids of 0")));
}

TEST(PolicyTest, AnUnknownNameIsRefusedWithTheKnownOnes) {
  EXPECT_THAT(MakePolicy("best"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::AllOf(HasSubstr("best"), HasSubstr("key_diff"))));
  EXPECT_THAT(MakePolicy("kvp"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("agents")));
  EXPECT_THAT(MakePolicy("q_filter"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("q-filters")));
  for (const char* name : {"ada:best", "ada:", "ada:ada:k_norm", "ada:kv_zip"}) {
    EXPECT_THAT(FindPolicy(name), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(name)));
  }
}

}  // namespace
}  // namespace kvp

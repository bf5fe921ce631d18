#include "policy/policy.h"

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "policy/agent_file.h"
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

TEST(PolicyTest, EveryNameScoresEveryEntryOfEveryHead) {
  for (const std::string& name : PolicyNames()) {
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Policy> policy, MakePolicy(name, {SavedAgents()}));
    EXPECT_EQ(policy->name(), name);
    ASSERT_OK_AND_ASSIGN(const at::Tensor scores, policy->Score(Input({{0, 1}, {1, 0}}, 9)));
    EXPECT_EQ(scores.sizes(), at::IntArrayRef({2, 9})) << name;
    EXPECT_EQ(scores.scalar_type(), at::kFloat) << name;
    EXPECT_FALSE(scores.requires_grad()) << name;
  }
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
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("oracle")));
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
}

}  // namespace
}  // namespace kvp

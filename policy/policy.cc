#include "policy/policy.h"

#include <algorithm>
#include <functional>
#include <new>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "c10/util/Exception.h"
#include "policy/agent_scorer.h"
#include "policy/head_budgets.h"
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
#include "policy/q_filter_scorer.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr char kAdaPrefix[] = "ada:";
// Ada-KV's share of a budget that is every head's own; KVzip has none.
constexpr double kAdaGuarded = 0.2;
constexpr double kModelGuarded = 0;

using ScoreFunction = std::function<absl::StatusOr<at::Tensor>(const PolicyInput&)>;

struct Registered {
  PolicyInfo info;
  ScoreFunction score;  // null where it is made from a file
};

absl::StatusOr<at::Tensor> ReplayScores(const PolicyInput& input) { return input.replay_attention; }
absl::StatusOr<at::Tensor> OracleScores(const PolicyInput& input) {
  return input.importance.to(at::kFloat);
}

// The one place that lists the policies.
std::vector<Registered> MakeRegistry() {
  std::vector<Registered> policies;
  const auto add = [&policies](std::string name, std::string summary,
                               ScoreFunction score) -> PolicyInfo& {
    Registered registered;
    registered.info.name = std::move(name);
    registered.info.summary = std::move(summary);
    registered.score = std::move(score);
    policies.push_back(std::move(registered));
    return policies.back().info;
  };
  PolicyInfo* info = &add("kvp", "the trained agents", nullptr);
  info->file = "agents";
  info->scores_once = true;
  add("oracle", "what the future turns out to need", OracleScores).importance = true;
  add("random", "any", RandomScores).scores_once = true;
  add("streaming_llm", "the first 4 and the most recent", StreamingLlmScores).scores_once = true;
  add("k_norm", "small keys", KNormScores).scores_once = true;
  add("key_diff", "keys unlike the others", KeyDiffScores);
  add("lag_kv", "what stands out against the block that follows", LagKvScores);
  add("cur", "large shares of a window's keys and values", CurScores);
  add("leverage", "keys that the others don't make up", LeverageScores);
  add("h2o", "half what got most attention, half the most recent", H2oScores).attention_sums = true;
  add("tova", "what the last token attends to", TovaScores).recent_queries = true;
  add("snap_kv", "what the last 64 tokens attend to", SnapKvScores).recent_queries = true;
  info = &add("pyramid_kv", "as snap_kv, early layers keep more", SnapKvScores);
  info->recent_queries = true;
  info->spread = BudgetSpread::kPyramid;
  add("expected_attention", "what queries like those so far would attend to",
      ExpectedAttentionScores)
      .query_moments = true;
  info = &add("q_filter", "keys along the queries' main direction", nullptr);
  info->file = "q-filters";
  info->scores_once = true;
  info = &add("kv_zip", "what repeating the context attends to", ReplayScores);
  info->replay_attention = true;
  info->spread = BudgetSpread::kModel;
  return policies;
}

const std::vector<Registered>& Registry() {
  static const auto& registry = *new std::vector<Registered>(MakeRegistry());
  return registry;
}

absl::Status Invalid(absl::string_view policy, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("policy ", policy, ": ", what));
}

absl::Status CheckEntries(absl::string_view policy, const PolicyInput& input) {
  if (!input.keys.defined() || input.keys.dim() != 3 || !input.values.defined() ||
      input.values.sizes() != input.keys.sizes()) {
    return Invalid(policy, "keys and values aren't both [heads, tokens, head_dim]");
  }
  if (input.keys.scalar_type() != at::kFloat || input.values.scalar_type() != at::kFloat) {
    return Invalid(policy, "keys and values aren't fp32");
  }
  const int64_t heads = static_cast<int64_t>(input.heads.size());
  if (heads != input.keys.size(0)) {
    return Invalid(policy,
                   absl::StrCat("keys of ", input.keys.size(0), " heads, but ids of ", heads));
  }
  if (heads == 0 || input.keys.size(1) == 0) return Invalid(policy, "no entries to score");
  if (!input.positions.defined() || input.positions.dim() != 1 ||
      input.positions.scalar_type() != at::kLong || input.positions.size(0) != input.keys.size(1)) {
    return Invalid(policy, absl::StrCat("positions aren't int64 [", input.keys.size(1), "]"));
  }
  if (static_cast<int64_t>(input.rope_frequencies.size()) * 2 > input.keys.size(2)) {
    return Invalid(policy, absl::StrCat(input.rope_frequencies.size(),
                                        " rotary frequencies, but head_dim ", input.keys.size(2)));
  }
  return absl::OkStatus();
}

// That `tensor` is there and [heads, ...] with the sizes `rest`; -1 for any.
absl::Status CheckNeed(absl::string_view policy, absl::string_view what, const at::Tensor& tensor,
                       int64_t heads, const std::vector<int64_t>& rest) {
  if (!tensor.defined()) {
    return absl::FailedPreconditionError(
        absl::StrCat("policy ", policy, ": it needs ", what, ", which isn't known here"));
  }
  bool agrees = tensor.dim() == static_cast<int64_t>(rest.size()) + 1 && tensor.size(0) == heads;
  for (size_t i = 0; agrees && i < rest.size(); ++i) {
    agrees = rest[i] < 0 || tensor.size(static_cast<int64_t>(i) + 1) == rest[i];
  }
  if (agrees) return absl::OkStatus();
  return Invalid(policy,
                 absl::StrCat(what, ": [", absl::StrJoin(tensor.sizes(), ", "), "] doesn't fit ",
                              heads, " heads and [", absl::StrJoin(rest, ", "), "]"));
}

absl::Status CheckNeeds(const PolicyInfo& info, const PolicyInput& input) {
  const int64_t heads = input.keys.size(0);
  const int64_t tokens = input.keys.size(1);
  const int64_t head_dim = input.keys.size(2);
  const ObservedQueries& queries = input.queries;
  if (info.recent_queries) {
    RETURN_IF_ERROR(CheckNeed(info.name, "the queries of the sequence's last tokens",
                              queries.recent, heads, {-1, -1, head_dim}));
    if (queries.windows.size() != input.heads.size() || queries.recent.size(2) < 1 ||
        queries.recent.size(2) > tokens) {
      return Invalid(info.name, absl::StrCat(queries.recent.size(2), " recent queries and ",
                                             queries.windows.size(), " windows don't fit ", tokens,
                                             " entries of ", heads, " heads"));
    }
  }
  if (info.query_moments) {
    RETURN_IF_ERROR(
        CheckNeed(info.name, "the queries' means", queries.means, heads, {-1, head_dim}));
    RETURN_IF_ERROR(CheckNeed(info.name, "the queries' covariances", queries.covariances, heads,
                              {queries.means.size(1), head_dim, head_dim}));
  }
  if (info.attention_sums) {
    RETURN_IF_ERROR(CheckNeed(info.name, "the attention of all queries so far",
                              queries.attention_sums, heads, {tokens}));
  }
  if (info.replay_attention) {
    RETURN_IF_ERROR(CheckNeed(info.name, "the attention of the sequence's repetition",
                              input.replay_attention, heads, {tokens}));
  }
  if (info.importance) {
    RETURN_IF_ERROR(
        CheckNeed(info.name, "the future importance", input.importance, heads, {tokens}));
  }
  return absl::OkStatus();
}

// A policy that is a function of its input.
class FunctionPolicy : public Policy {
 public:
  FunctionPolicy(PolicyInfo info, ScoreFunction score)
      : info_(std::move(info)), score_(std::move(score)) {}

  const PolicyInfo& info() const override { return info_; }

  absl::StatusOr<at::Tensor> Score(const PolicyInput& input) const override {
    RETURN_IF_ERROR(CheckEntries(info_.name, input));
    RETURN_IF_ERROR(CheckNeeds(info_, input));
    const at::NoGradGuard no_gradients;
    // What torch throws (memory that can't be had, a device's failure) becomes a status.
    try {
      absl::StatusOr<at::Tensor> scores = score_(input);
      if (scores.ok()) return scores;
      return absl::Status(scores.status().code(),
                          absl::StrCat("policy ", info_.name, ": ", scores.status().message()));
    } catch (const c10::Error& error) {
      return absl::InternalError(
          absl::StrCat("policy ", info_.name, ": ", error.what_without_backtrace()));
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError(absl::StrCat("policy ", info_.name, ": out of memory"));
    }
  }

 private:
  const PolicyInfo info_;
  const ScoreFunction score_;
};

absl::StatusOr<ScoreFunction> LoadFrom(const PolicyInfo& info, const PolicyOptions& options) {
  const bool agents = info.file == "agents";
  const std::string& path = agents ? options.agents_path : options.q_filters_path;
  if (path.empty()) {
    return Invalid(info.name, absl::StrCat("no file was given; it needs --", info.file));
  }
  if (agents) {
    ASSIGN_OR_RETURN(std::shared_ptr<const AgentScorer> scorer, AgentScorer::Load(path));
    return ScoreFunction([scorer](const PolicyInput& input) { return scorer->Score(input); });
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const QFilterScorer> scorer, QFilterScorer::Load(path));
  return ScoreFunction([scorer](const PolicyInput& input) { return scorer->Score(input); });
}

absl::StatusOr<Registered> Find(absl::string_view full_name) {
  absl::string_view name = full_name;
  const bool ada = absl::ConsumePrefix(&name, kAdaPrefix);
  for (const Registered& registered : Registry()) {
    if (registered.info.name != name) continue;
    if (!ada) return registered;
    if (registered.info.spread != BudgetSpread::kEven) {
      return Invalid(full_name, absl::StrCat(name, " spreads budgets in its own way"));
    }
    Registered spread = registered;
    spread.info.name = std::string(full_name);
    spread.info.summary =
        absl::StrCat("as ", name, ", the heads of a layer compete for its entries");
    spread.info.scores_once = false;
    spread.info.spread = BudgetSpread::kLayer;
    return spread;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown policy \"", full_name, "\"; there are ",
                                                 absl::StrJoin(PolicyNames(), ", "),
                                                 ", and ada: before one of them"));
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> Policy::HeadBudgets(
    const PolicyInput& input, const at::Tensor& scores, int64_t mean,
    const ProtectedTokens& protected_tokens) const {
  const int64_t tokens = input.keys.size(1);
  if (mean < 1 || mean > tokens) {
    return Invalid(name(), absl::StrCat("budget ", mean, " isn't in [1, ", tokens, "]"));
  }
  std::vector<int64_t> groups(input.heads.size(), 0);
  int64_t layers = input.layers;
  for (size_t i = 0; i < input.heads.size(); ++i) {
    layers = std::max<int64_t>(layers, input.heads[i].layer + 1);
    if (info().spread == BudgetSpread::kLayer) groups[i] = input.heads[i].layer;
  }
  switch (info().spread) {
    case BudgetSpread::kEven:
      break;
    case BudgetSpread::kPyramid:
      return PyramidBudgets(input.heads, layers, tokens, mean);
    case BudgetSpread::kLayer:
      return CompetitiveBudgets(scores, groups, mean, kAdaGuarded, protected_tokens);
    case BudgetSpread::kModel:
      return CompetitiveBudgets(scores, groups, mean, kModelGuarded, protected_tokens);
  }
  return std::vector<int64_t>(input.heads.size(), mean);
}

absl::StatusOr<PolicyInfo> FindPolicy(absl::string_view name) {
  ASSIGN_OR_RETURN(Registered found, Find(name));
  return std::move(found.info);
}

absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(const std::string& name,
                                                   const PolicyOptions& options) {
  ASSIGN_OR_RETURN(Registered found, Find(name));
  if (!found.info.file.empty()) {
    ASSIGN_OR_RETURN(found.score, LoadFrom(found.info, options));
  }
  return std::make_unique<FunctionPolicy>(std::move(found.info), std::move(found.score));
}

const std::vector<PolicyInfo>& Policies() {
  static const auto& policies = *[] {
    auto* infos = new std::vector<PolicyInfo>;
    for (const Registered& registered : Registry()) infos->push_back(registered.info);
    return infos;
  }();
  return policies;
}

const std::vector<std::string>& PolicyNames() {
  static const auto& policy_names = *[] {
    auto* names = new std::vector<std::string>;
    for (const Registered& registered : Registry()) names->push_back(registered.info.name);
    return names;
  }();
  return policy_names;
}

}  // namespace kvp

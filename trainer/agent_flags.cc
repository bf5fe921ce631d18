#include "trainer/agent_flags.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "trainer/recipe.h"
#include "util/command_line.h"
#include "util/status_macros.h"

// A flag of a recipe's number has no default of its own: where it isn't given, the recipe decides.
ABSL_FLAG(std::string, recipe, "kvp",
          "What the flags below start from. paper: --agent=paper --objective=paper --batch=128 "
          "--steps=4000 --learning-rate=5e-5 --final-learning-rate=1e-6 --warmup-steps=100, as the "
          "code released with the paper has it.");
ABSL_FLAG(absl::optional<std::string>, agent, absl::nullopt,
          "kvp: keys also turned back, positions without an end. paper: keys as they are cached, a "
          "learned table of positions, width 256. By default the recipe's.");
ABSL_FLAG(absl::optional<int64_t>, position_table, absl::nullopt,
          "Positions that the paper's agents know (6000); a longer trace is refused.");
ABSL_FLAG(absl::optional<std::string>, objective, absl::nullopt,
          "exact, log_rank, exact+log_rank, rloo, paper, regression or listwise (kvp: "
          "exact+log_rank).");
ABSL_FLAG(int64_t, permutations, 8, "Rankings that rloo draws of each context.");
ABSL_FLAG(double, log_rank_weight, 1, "Weight of the second part of exact+log_rank.");
ABSL_FLAG(int64_t, pairs, 0,
          "Others that each entry is compared with in exact, log_rank and exact+log_rank, drawn "
          "anew in each step: for very long contexts; 0 for all.");
ABSL_FLAG(
    std::string, budget_weights, "uniform",
    "How much each budget counts in rloo: uniform, inverse (every halving of the cache counts "
    "the same), or SHARE:WEIGHT,... of some shares of the cache alone.");
ABSL_FLAG(absl::optional<int64_t>, steps, absl::nullopt, "Updates of each agent (kvp: 300).");
ABSL_FLAG(absl::optional<int64_t>, batch, absl::nullopt, "Contexts a step (kvp: 8).");
ABSL_FLAG(absl::optional<double>, learning_rate, absl::nullopt,
          "Largest learning rate, after the warm-up (kvp: 3e-3).");
ABSL_FLAG(absl::optional<double>, final_learning_rate, absl::nullopt,
          "Learning rate at the last step (kvp: a hundredth of the largest).");
ABSL_FLAG(absl::optional<int64_t>, warmup_steps, absl::nullopt,
          "Steps over which the learning rate rises; a cosine follows (kvp: 20).");
ABSL_FLAG(absl::optional<double>, weight_decay, absl::nullopt, "Decoupled weight decay (1e-3).");
ABSL_FLAG(absl::optional<double>, clip, absl::nullopt, "Largest norm of one head's gradient (5).");
ABSL_FLAG(absl::optional<double>, ema, absl::nullopt,
          "Decay of the moving average that is evaluated and written (0.99).");
ABSL_FLAG(absl::optional<int64_t>, width, absl::nullopt, "Width of the agents' layers (kvp: 64).");
ABSL_FLAG(absl::optional<int64_t>, hidden_layers, absl::nullopt,
          "Hidden layers of the agents (2).");
ABSL_FLAG(absl::optional<int64_t>, position_features, absl::nullopt,
          "Features of an entry's position (32).");
ABSL_FLAG(bool, undo_rotation, true,
          "Agents of kind kvp read keys also as they were before their rotary rotation; "
          "--noundo-rotation: as they are cached.");
ABSL_FLAG(
    std::string, dtype, "float32",
    "What matrices are multiplied in: float32 or bfloat16. Parameters and updates are float32 "
    "in any case.");
ABSL_FLAG(
    bool, keep_best, true,
    "Write each head's agent of the step with the lowest held-out cost; --nokeep-best: of the last "
    "step, so that the held-out traces have no say in it.");
ABSL_FLAG(int64_t, sampled_entries, 0, "Entries of each context that a step looks at; 0 for all.");
ABSL_FLAG(uint64_t, seed, 0, "The same seed gives the same bytes, whatever the number of ranks.");
ABSL_FLAG(int64_t, group_size, 4,
          "Heads that are trained stacked. Results depend on it by rounding.");
ABSL_FLAG(int64_t, eval_every, 50, "Steps between evaluations on held-out traces.");
ABSL_FLAG(int64_t, eval_contexts, 256, "Held-out contexts that are evaluated; 0 for all.");

namespace kvp {
namespace {

template <typename T>
void SetWhereGiven(const absl::Flag<absl::optional<T>>& flag, T* option) {
  if (const absl::optional<T> value = absl::GetFlag(flag)) *option = *value;
}

absl::Status SetAgent(TrainingOptions* options) {
  if (const auto kind = absl::GetFlag(FLAGS_agent)) {
    RETURN_IF_ERROR(SetAgentKind(*kind, options));
  }
  AgentShape& shape = options->group.gradient.shape;
  if (const auto positions = absl::GetFlag(FLAGS_position_table)) {
    if (shape.position_table == 0 || *positions < 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          "position_table is ", *positions,
          shape.position_table == 0 ? ": only the paper's agents have such a table" : ", below 1"));
    }
    shape.position_table = *positions;
  }
  SetWhereGiven(FLAGS_width, &shape.width);
  SetWhereGiven(FLAGS_hidden_layers, &shape.hidden_layers);
  SetWhereGiven(FLAGS_position_features, &shape.position_features);
  if (!absl::GetFlag(FLAGS_undo_rotation)) options->undo_rotation = false;
  return absl::OkStatus();
}

void SetOptimizer(OptimizerOptions* optimizer) {
  SetWhereGiven(FLAGS_learning_rate, &optimizer->learning_rate);
  if (const auto rate = absl::GetFlag(FLAGS_final_learning_rate)) {
    optimizer->final_rate_share = *rate / optimizer->learning_rate;
  }
  SetWhereGiven(FLAGS_weight_decay, &optimizer->weight_decay);
  SetWhereGiven(FLAGS_clip, &optimizer->clip_norm);
  SetWhereGiven(FLAGS_steps, &optimizer->steps);
  SetWhereGiven(FLAGS_warmup_steps, &optimizer->warmup_steps);
  SetWhereGiven(FLAGS_ema, &optimizer->ema_decay);
}

absl::Status SetDtype(TrainingOptions* options) {
  const std::string dtype = absl::GetFlag(FLAGS_dtype);
  if (dtype != "float32" && dtype != "bfloat16") {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype is \"", dtype, "\"; there are float32 and bfloat16"));
  }
  options->group.gradient.dtype = dtype == "float32" ? at::kFloat : at::kBFloat16;
  return absl::OkStatus();
}

// INVALID_ARGUMENT for a flag that the objective has no use for.
absl::Status CheckObjectiveFlags(const std::string& objective) {
  const auto check = [&](bool applies, const std::vector<std::string>& flags) {
    const std::string problem =
        applies ? "" : MisplacedFlag(flags, absl::StrCat("to --objective ", objective));
    return problem.empty() ? absl::OkStatus() : absl::InvalidArgumentError(problem);
  };
  const bool sum = objective == "exact+log_rank";
  RETURN_IF_ERROR(check(objective == "rloo", {"permutations", "budget_weights"}));
  RETURN_IF_ERROR(check(sum, {"log_rank_weight"}));
  return check(sum || objective == "exact" || objective == "log_rank", {"pairs"});
}

}  // namespace

absl::StatusOr<TrainingOptions> OptionsOfAgentFlags() {
  ASSIGN_OR_RETURN(TrainingOptions options, OptionsOfRecipe(absl::GetFlag(FLAGS_recipe)));
  RETURN_IF_ERROR(SetAgent(&options));
  SetOptimizer(&options.group.optimizer);
  RETURN_IF_ERROR(SetDtype(&options));
  SetWhereGiven(FLAGS_objective, &options.objective.name);
  RETURN_IF_ERROR(CheckObjectiveFlags(options.objective.name));
  options.objective.permutations = absl::GetFlag(FLAGS_permutations);
  options.objective.log_rank_weight = absl::GetFlag(FLAGS_log_rank_weight);
  options.objective.pairs = absl::GetFlag(FLAGS_pairs);
  options.objective.budget_weights = absl::GetFlag(FLAGS_budget_weights);
  SetWhereGiven(FLAGS_batch, &options.batch);
  options.group.gradient.seed = absl::GetFlag(FLAGS_seed);
  options.group.gradient.sampled_entries = absl::GetFlag(FLAGS_sampled_entries);
  options.group.keep_best = absl::GetFlag(FLAGS_keep_best);
  options.group_size = absl::GetFlag(FLAGS_group_size);
  options.eval_every = absl::GetFlag(FLAGS_eval_every);
  options.eval_contexts = absl::GetFlag(FLAGS_eval_contexts);
  return options;
}

}  // namespace kvp

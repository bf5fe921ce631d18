#include "trainer/recipe.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "policy/agent_network.h"
#include "util/status_macros.h"

namespace kvp {

const std::vector<std::string>& RecipeNames() {
  static const auto* const names = new std::vector<std::string>{"kvp", "paper"};
  return *names;
}

absl::Status SetAgentKind(absl::string_view kind, TrainingOptions* options) {
  AgentShape& shape = options->group.gradient.shape;
  if (kind == "kvp") {
    shape = TrainingOptions().group.gradient.shape;
    options->undo_rotation = TrainingOptions().undo_rotation;
    return absl::OkStatus();
  }
  if (kind == "paper") {
    shape = PaperAgentShape(/*head_dim=*/0, kPaperPositions);
    options->undo_rotation = false;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("agent is \"", kind, "\"; there are kvp and paper"));
}

absl::StatusOr<TrainingOptions> OptionsOfRecipe(absl::string_view name) {
  TrainingOptions options;
  if (name == "kvp") return options;
  if (name != "paper") {
    return absl::InvalidArgumentError(
        absl::StrCat("recipe is \"", name, "\"; there are kvp and paper"));
  }
  RETURN_IF_ERROR(SetAgentKind("paper", &options));
  options.objective.name = "paper";
  options.batch = 128;
  OptimizerOptions& optimizer = options.group.optimizer;
  optimizer.learning_rate = 5e-5;
  optimizer.final_rate_share = 1e-6 / 5e-5;
  optimizer.weight_decay = 1e-3;
  optimizer.warmup_steps = 100;
  optimizer.clip_norm = 5;
  optimizer.ema_decay = 0.99;
  optimizer.steps = 4000;
  return options;
}

}  // namespace kvp

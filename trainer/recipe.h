// The whole recipes that a training run can be asked for by name.

#ifndef KVP_TRAINER_RECIPE_H_
#define KVP_TRAINER_RECIPE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "trainer/training_options.h"

namespace kvp {

// Positions of the table of the paper's agents, as in the released code.
constexpr int64_t kPaperPositions = 6000;

// "kvp": the defaults of TrainingOptions. "paper": that of Moschella et al., "Learning to Evict
// from Key-Value Cache" (2026), and of the code released with it: its agent (PaperAgentShape, with
// kPaperPositions), the objective "paper", batches of 128 contexts, 4,000 steps of AdamW at 5e-5
// with a weight decay of 1e-3, 100 steps of warm-up and a cosine down to 1e-6, gradients clipped to
// 5 (each agent's own), the moving average of decay 0.99.
const std::vector<std::string>& RecipeNames();

// INVALID_ARGUMENT naming an unknown one.
absl::StatusOr<TrainingOptions> OptionsOfRecipe(absl::string_view name);

// Makes the options' agents "kvp" or "paper" ones, whatever the rest. INVALID_ARGUMENT naming an
// unknown kind.
absl::Status SetAgentKind(absl::string_view kind, TrainingOptions* options);

}  // namespace kvp

#endif  // KVP_TRAINER_RECIPE_H_

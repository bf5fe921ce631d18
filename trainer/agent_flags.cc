#include "trainer/agent_flags.h"

#include <cstdint>
#include <string>

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, objective, "exact", "exact, rloo, log_rank or exact+log_rank.");
ABSL_FLAG(int64_t, permutations, 8, "Rankings that rloo draws of each context.");
ABSL_FLAG(double, log_rank_weight, 1, "Weight of the second part of exact+log_rank.");
ABSL_FLAG(int64_t, steps, 300, "Updates of each agent.");
ABSL_FLAG(int64_t, batch, 8, "Contexts a step.");
ABSL_FLAG(double, learning_rate, 3e-3, "Largest learning rate, after the warm-up.");
ABSL_FLAG(int64_t, warmup_steps, 20, "Steps over which the learning rate rises; a cosine follows.");
ABSL_FLAG(double, weight_decay, 1e-3, "Decoupled weight decay.");
ABSL_FLAG(double, clip, 5, "Largest norm of one head's gradient.");
ABSL_FLAG(double, ema, 0.99, "Decay of the moving average that is evaluated and written.");
ABSL_FLAG(int64_t, width, 64, "Width of the agents' layers.");
ABSL_FLAG(int64_t, hidden_layers, 2, "Hidden layers of the agents.");
ABSL_FLAG(
    bool, keep_best, true,
    "Write each head's agent of the step with the lowest held-out cost; --nokeep-best: of the last "
    "step, so that the held-out traces have no say in it.");
ABSL_FLAG(bool, undo_rotation, true,
          "Agents read keys also as they were before their rotary rotation; --noundo-rotation: as "
          "they are cached.");
ABSL_FLAG(int64_t, position_features, 32, "Features of an entry's position.");
ABSL_FLAG(int64_t, sampled_entries, 0, "Entries of each context that a step looks at; 0 for all.");
ABSL_FLAG(uint64_t, seed, 0, "The same seed gives the same bytes, whatever the number of ranks.");
ABSL_FLAG(int64_t, group_size, 4,
          "Heads that are trained stacked. Results depend on it by rounding.");
ABSL_FLAG(int64_t, eval_every, 50, "Steps between evaluations on held-out traces.");
ABSL_FLAG(int64_t, eval_contexts, 256, "Held-out contexts that are evaluated; 0 for all.");

namespace kvp {

void SetAgentOptions(TrainingOptions* options) {
  AgentShape& shape = options->group.gradient.shape;
  shape.width = absl::GetFlag(FLAGS_width);
  shape.hidden_layers = absl::GetFlag(FLAGS_hidden_layers);
  shape.position_features = absl::GetFlag(FLAGS_position_features);
  OptimizerOptions& optimizer = options->group.optimizer;
  optimizer.learning_rate = absl::GetFlag(FLAGS_learning_rate);
  optimizer.weight_decay = absl::GetFlag(FLAGS_weight_decay);
  optimizer.clip_norm = absl::GetFlag(FLAGS_clip);
  optimizer.steps = absl::GetFlag(FLAGS_steps);
  optimizer.warmup_steps = absl::GetFlag(FLAGS_warmup_steps);
  optimizer.ema_decay = absl::GetFlag(FLAGS_ema);
  options->group.gradient.seed = absl::GetFlag(FLAGS_seed);
  options->group.gradient.sampled_entries = absl::GetFlag(FLAGS_sampled_entries);
  options->group.keep_best = absl::GetFlag(FLAGS_keep_best);
  options->objective.name = absl::GetFlag(FLAGS_objective);
  options->objective.permutations = absl::GetFlag(FLAGS_permutations);
  options->objective.log_rank_weight = absl::GetFlag(FLAGS_log_rank_weight);
  options->undo_rotation = absl::GetFlag(FLAGS_undo_rotation);
  options->group_size = absl::GetFlag(FLAGS_group_size);
  options->batch = absl::GetFlag(FLAGS_batch);
  options->eval_every = absl::GetFlag(FLAGS_eval_every);
  options->eval_contexts = absl::GetFlag(FLAGS_eval_contexts);
}

}  // namespace kvp

#include "trainer/training_options.h"

#include <charconv>

#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// The shortest text that reads back as the same number.
std::string Exact(double value) {
  char buffer[32];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr);
}

}  // namespace

absl::Status TrainingOptions::Validate() const {
  GroupTrainer::Options of_group = group;
  // Those of the traces' model come later.
  of_group.gradient.shape.head_dim = 1;
  of_group.gradient.shape.rope_frequencies.clear();
  RETURN_IF_ERROR(of_group.gradient.shape.Validate());
  RETURN_IF_ERROR(group.optimizer.Validate());
  RETURN_IF_ERROR(MakeObjective(objective).status());
  const auto at_least = [](absl::string_view field, int64_t value, int64_t least) {
    if (value >= least) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(field, " is ", value, ", not ", least, " or more"));
  };
  RETURN_IF_ERROR(at_least("group_size", group_size, 1));
  RETURN_IF_ERROR(at_least("batch", batch, 1));
  RETURN_IF_ERROR(at_least("eval_every", eval_every, 1));
  RETURN_IF_ERROR(at_least("eval_contexts", eval_contexts, 0));
  RETURN_IF_ERROR(at_least("cache_bytes", data.cache_bytes, 0));
  RETURN_IF_ERROR(at_least("prefetch_bytes", data.prefetch_bytes, 0));
  RETURN_IF_ERROR(at_least("fetch_threads", data.fetch_threads, 1));
  RETURN_IF_ERROR(at_least("checkpoint_steps", checkpoint.every_steps, 0));
  if (checkpoint.every < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "checkpoint_interval is ", absl::FormatDuration(checkpoint.every), ", not 0 or more"));
  }
  if (checkpoint.resume && checkpoint.dir.empty()) {
    return absl::InvalidArgumentError("resume is true, but checkpoint_dir is empty");
  }
  if (group.gradient.sampled_entries != 0) {
    RETURN_IF_ERROR(at_least("sampled_entries", group.gradient.sampled_entries, 2));
  }
  return absl::OkStatus();
}

AgentShape ShapeFor(const TrainingOptions& options, const ModelInfo& model) {
  AgentShape shape = options.group.gradient.shape;
  shape.head_dim = model.head_dim();
  shape.rope_frequencies.clear();
  if (options.undo_rotation) {
    shape.rope_frequencies.assign(model.rope_frequencies().begin(), model.rope_frequencies().end());
  }
  return shape;
}

std::map<std::string, std::string> AgentSettings(const TrainingOptions& options) {
  const OptimizerOptions& optimizer = options.group.optimizer;
  const AgentShape& shape = options.group.gradient.shape;
  return {
      {"objective", options.objective.name},
      {"permutations", absl::StrCat(options.objective.permutations)},
      {"log_rank_weight", Exact(options.objective.log_rank_weight)},
      {"pairs", absl::StrCat(options.objective.pairs)},
      {"budget_weights", options.objective.budget_weights},
      {"steps", absl::StrCat(optimizer.steps)},
      {"batch", absl::StrCat(options.batch)},
      {"learning_rate", Exact(optimizer.learning_rate)},
      {"final_learning_rate", Exact(optimizer.learning_rate * optimizer.final_rate_share)},
      {"warmup_steps", absl::StrCat(optimizer.warmup_steps)},
      {"weight_decay", Exact(optimizer.weight_decay)},
      {"clip", Exact(optimizer.clip_norm)},
      {"ema", Exact(optimizer.ema_decay)},
      {"width", absl::StrCat(shape.width)},
      {"hidden_layers", absl::StrCat(shape.hidden_layers)},
      {"position_table", absl::StrCat(shape.position_table)},
      {"position_features", absl::StrCat(shape.position_features)},
      {"undo_rotation", options.undo_rotation ? "true" : "false"},
      {"dtype", options.group.gradient.dtype == at::kFloat ? "float32" : "bfloat16"},
      {"sampled_entries", absl::StrCat(options.group.gradient.sampled_entries)},
      {"seed", absl::StrCat(options.group.gradient.seed)},
      {"group_size", absl::StrCat(options.group_size)},
      {"keep_best", options.group.keep_best ? "true" : "false"},
      {"eval_every", absl::StrCat(options.eval_every)},
      {"eval_contexts", absl::StrCat(options.eval_contexts)},
  };
}

}  // namespace kvp

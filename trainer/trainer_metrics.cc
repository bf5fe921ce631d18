#include "trainer/trainer_metrics.h"

#include <string>

namespace kvp {

TrainerMetrics TrainerMetrics::In(Metrics& metrics) {
  const auto counter = [&](const std::string& name, const std::string& help) {
    return metrics.AddCounter("kvp_trainer_" + name, help);
  };
  const auto gauge = [&](const std::string& name, const std::string& help) {
    return metrics.AddGauge("kvp_trainer_" + name, help);
  };
  TrainerMetrics result;
  result.steps = counter("steps_total", "Updates of each agent by this process.");
  result.contexts = counter("contexts_total", "Contexts that each agent was trained on.");
  result.token_heads =
      counter("token_heads_total", "Entries of those contexts times heads, of all ranks.");
  result.waiting_seconds =
      counter("waiting_seconds_total", "Time in which rank 0 waited for traces.");
  result.read_bytes = counter("read_bytes_total", "Bytes of traces that rank 0 has read.");
  result.checkpoints = counter("checkpoints_total", "Checkpoints written.");
  result.step = gauge("step", "Steps done, those before a resume included.");
  result.loss = gauge("loss", "Mean loss of rank 0's heads in the last step.");
  result.held_out_cost =
      gauge("held_out_cost", "Mean cost of all heads on held-out traces; 1 is the oracle.");
  result.held_out_cost_worst = gauge("held_out_cost_worst", "That of the worst head.");
  result.stopped_heads =
      gauge("stopped_heads", "Heads, of all ranks, whose training has diverged and ended.");
  result.incomplete = gauge("incomplete_head_traces",
                            "Traces of rank 0's heads that lack blocks and are left out.");
  result.cache_bytes = gauge("cache_bytes", "Bytes of traces that rank 0 keeps in memory.");
  result.checkpoint_seconds = gauge("checkpoint_seconds", "Time that the last checkpoint took.");
  return result;
}

}  // namespace kvp

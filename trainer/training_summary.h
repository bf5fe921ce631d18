// What a training run has come to: the summary as JSON, and a few lines for people.

#ifndef KVP_TRAINER_TRAINING_SUMMARY_H_
#define KVP_TRAINER_TRAINING_SUMMARY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "trainer/training_options.h"
#include "trainer/training_result.h"

namespace kvp {

// One head of the table at the end.
struct HeadRow {
  int64_t layer = 0;
  int64_t kv_head = 0;
  double cost = 0;  // of its agent, on held-out traces
  // The policy without training that is cheapest on this head; empty where none was measured.
  std::string best_heuristic;
  double best_heuristic_cost = 0;
  // The part of the way from that policy to the oracle, whose cost is 1, that the agent goes; below
  // 0 where it is worse than the policy.
  double gap_closed = 0;
  int64_t best_step = 0;
  bool stopped = false;
};

std::vector<HeadRow> HeadTable(const TrainingResult& result);

// The whole summary, as --json has it.
nlohmann::json SummaryJson(const TrainingOptions& options, const TrainingResult& result, int ranks,
                           double wall_seconds);

// The `rows` heads whose agents close least of the gap, the worst first, and the mean of all: a
// line each.
std::vector<std::string> HeadTableLines(const std::vector<HeadRow>& table, size_t rows);

}  // namespace kvp

#endif  // KVP_TRAINER_TRAINING_SUMMARY_H_

// What a trainer counts while it runs.

#ifndef KVP_TRAINER_TRAINER_METRICS_H_
#define KVP_TRAINER_TRAINER_METRICS_H_

#include "util/metrics.h"

namespace kvp {

// Of rank 0, and, where the help says so, of all ranks. Made by default it counts nothing.
struct TrainerMetrics {
  // Adds kvp_trainer_…, documented by their help texts, to `metrics`.
  static TrainerMetrics In(Metrics& metrics);

  Counter steps;
  Counter contexts;
  Counter token_heads;
  Counter waiting_seconds;
  Counter read_bytes;
  Counter checkpoints;
  Gauge step;
  Gauge loss;
  Gauge held_out_cost;
  Gauge held_out_cost_worst;
  Gauge stopped_heads;
  Gauge incomplete;
  Gauge cache_bytes;
  Gauge checkpoint_seconds;
};

}  // namespace kvp

#endif  // KVP_TRAINER_TRAINER_METRICS_H_

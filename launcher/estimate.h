// What a job will take, before anything is spent.

#ifndef KVP_LAUNCHER_ESTIMATE_H_
#define KVP_LAUNCHER_ESTIMATE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/model_geometry.h"
#include "launcher/plan.h"
#include "proto/job.pb.h"

namespace kvp {

struct Estimate {
  int64_t traces = 0;
  // Of all traces, prompts and continuations.
  double tokens = 0;
  // Of K, V and labels, all heads together: 4·d + 2·C for a token and head, 2·d + 2·C with
  // --kv-dtype=fp8 (d: values of a head, C: cuts).
  double trace_bytes = 0;
  // Of the fullest shard.
  double largest_shard_bytes = 0;
  // The fullest shard's heads over the mean; 1 is even.
  double shard_balance = 1;
  // The same of the groups of heads and their batches over the trainers' ranks. Ranks beyond one
  // for each group share its batches.
  double rank_balance = 1;
  // What the figures above leave out or take for granted; empty: nothing.
  std::string caveat;
};

// A pure function of the job, the model's geometry and, for prompts from a file, its size:
// a token is taken to be four bytes of it.
absl::StatusOr<Estimate> EstimateJob(const Job& job, const ModelGeometry& geometry,
                                     const Plan& plan);

// A few lines for --dry-run.
std::string EstimateText(const Estimate& estimate);

// RESOURCE_EXHAUSTED, naming shards.dir, where the traces are more than what its file system has
// free and what is in it already.
absl::Status CheckDiskSpace(const Job& job, const Estimate& estimate);

}  // namespace kvp

#endif  // KVP_LAUNCHER_ESTIMATE_H_

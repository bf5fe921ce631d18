// What a shard tells Prometheus.

#ifndef KVP_STORAGE_SHARD_METRICS_H_
#define KVP_STORAGE_SHARD_METRICS_H_

#include <map>

#include "absl/status/status.h"
#include "util/metrics.h"

namespace kvp {

// Cheap to copy, thread-safe. One made by default counts nothing.
struct ShardMetrics {
  // Adds kvp_shard_…, documented by their help texts, to `metrics`, which must outlive the shard.
  static ShardMetrics In(Metrics& metrics);

  // Counts one message that was refused with this status.
  void CountRefusal(const absl::Status& status) const;

  Counter acknowledged_blocks;
  Counter acknowledged_bytes;
  Counter duplicate_blocks;
  Counter duplicate_bytes;
  Counter committed_traces;
  // By reason; others count as INTERNAL.
  std::map<absl::StatusCode, Counter> refused;
  Gauge queue_bytes;
  Gauge unacknowledged_bytes;
  Histogram block_write_seconds;
  Histogram commit_seconds;
  Counter head_reads;
  Counter read_blocks;
  Counter read_bytes;
  Counter corrupt_blocks;
  Gauge traces;
  Gauge disk_bytes;
  Gauge quota_bytes;
};

}  // namespace kvp

#endif  // KVP_STORAGE_SHARD_METRICS_H_

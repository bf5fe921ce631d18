#include "storage/shard_metrics.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"

namespace kvp {
namespace {

constexpr absl::StatusCode kReasons[] = {
    absl::StatusCode::kInvalidArgument, absl::StatusCode::kFailedPrecondition,
    absl::StatusCode::kResourceExhausted, absl::StatusCode::kDataLoss, absl::StatusCode::kInternal};

}  // namespace

ShardMetrics ShardMetrics::In(Metrics& metrics) {
  const auto counter = [&metrics](const std::string& name, const std::string& help) {
    return metrics.AddCounter("kvp_shard_" + name, help);
  };
  const auto gauge = [&metrics](const std::string& name, const std::string& help) {
    return metrics.AddGauge("kvp_shard_" + name, help);
  };
  const auto histogram = [&metrics](const std::string& step) {
    return metrics.AddHistogram(
        "kvp_shard_write_seconds", "Time until a batch of blocks, or of commits, was durable.",
        {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5}, {{"of", step}});
  };
  ShardMetrics result;
  result.acknowledged_blocks =
      counter("acknowledged_blocks_total", "Blocks found durable, those that came again included.");
  result.acknowledged_bytes = counter("acknowledged_bytes_total", "Encoded bytes of those blocks.");
  result.duplicate_blocks =
      counter("duplicate_blocks_total", "Blocks that came though they were there.");
  result.duplicate_bytes = counter("duplicate_bytes_total", "Encoded bytes of those blocks.");
  result.committed_traces = counter("committed_traces_total", "Traces committed since the start.");
  for (const absl::StatusCode code : kReasons) {
    result.refused[code] = metrics.AddCounter(
        "kvp_shard_refused_messages_total", "Messages of writers that were refused, by reason.",
        {{"reason", absl::AsciiStrToLower(absl::StatusCodeToString(code))}});
  }
  result.queue_bytes = gauge("queue_bytes", "Bytes that wait to be written.");
  result.unacknowledged_bytes =
      gauge("unacknowledged_bytes",
            "Bytes taken from writers and not yet answered: what they hold of their windows here.");
  result.block_write_seconds = histogram("blocks");
  result.commit_seconds = histogram("commits");
  result.head_reads = counter("head_reads_total", "Reads of a head that have begun.");
  result.read_blocks = counter("read_blocks_total", "Blocks read from the disk for readers.");
  result.read_bytes = counter("read_bytes_total", "Encoded bytes of those blocks.");
  result.corrupt_blocks =
      counter("corrupt_blocks_total",
              "Blocks that readers didn't get because they are damaged or missing.");
  result.traces = gauge("traces", "Committed traces in the shard.");
  result.disk_bytes = gauge("disk_bytes", "Bytes of blocks on the disk and on their way there.");
  result.quota_bytes = gauge("quota_bytes", "The most of them that is allowed; 0: no limit.");
  return result;
}

void ShardMetrics::CountRefusal(const absl::Status& status) const {
  auto reason = refused.find(status.code());
  if (reason == refused.end()) reason = refused.find(absl::StatusCode::kInternal);
  if (reason != refused.end()) reason->second.Add();
}

}  // namespace kvp

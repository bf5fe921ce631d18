// For tests of what a process tells Prometheus.

#ifndef KVP_UTIL_METRICS_TESTING_H_
#define KVP_UTIL_METRICS_TESTING_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

// Asks a server on the loopback interface for a path, in plain HTTP, and returns all it sends.
std::string HttpGet(int port, const std::string& path);

// The value of a series ("kvp_shard_traces", or with its labels in braces) in Prometheus's text.
// NOT_FOUND.
absl::StatusOr<double> SeriesValue(absl::string_view text, absl::string_view series);

}  // namespace kvp

#endif  // KVP_UTIL_METRICS_TESTING_H_

// Log lines of every process, on stderr: "2026-01-31T12:00:00.000Z I collector/0: message".
// (torch's headers define glog's macros, so glog itself can't be used beside them.)

#ifndef KVP_UTIL_LOGGING_H_
#define KVP_UTIL_LOGGING_H_

#include "absl/strings/string_view.h"

namespace kvp {

// The role and index that stand in each line of this process, as in "trainer/1". Call it before
// threads start.
void SetLogName(absl::string_view name);

// One line each, written whole. Thread-safe.
void LogInfo(absl::string_view message);
void LogWarning(absl::string_view message);
void LogError(absl::string_view message);

}  // namespace kvp

#endif  // KVP_UTIL_LOGGING_H_

#include "util/logging.h"

#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace kvp {
namespace {

std::string& LogName() {
  static std::string& name = *new std::string("kvp");
  return name;
}

void WriteLine(char severity, absl::string_view message) {
  const std::string line =
      absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()), " ",
                   std::string(1, severity), " ", LogName(), ": ",
                   absl::StrReplaceAll(message, {{"\n", "\\n"}}), "\n");
  // One write call a line: lines of several threads and processes don't mix.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

void SetLogName(absl::string_view name) { LogName() = std::string(name); }
void LogInfo(absl::string_view message) { WriteLine('I', message); }
void LogWarning(absl::string_view message) { WriteLine('W', message); }
void LogError(absl::string_view message) { WriteLine('E', message); }

}  // namespace kvp

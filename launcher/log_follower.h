// What a process says in its log file: its progress, and its last words.
//
// Progress is a line that contains "progress DONE/TOTAL UNIT[, anything]", as in "progress 12/96
// traces, 3.1 traces/s".

#ifndef KVP_LAUNCHER_LOG_FOLLOWER_H_
#define KVP_LAUNCHER_LOG_FOLLOWER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace kvp {

struct ProcessProgress {
  int64_t done = 0;
  int64_t total = 0;
  std::string unit;
  // What follows the unit.
  std::string detail;
};

// Nothing where the line says no progress.
std::optional<ProcessProgress> ParseProgress(absl::string_view line);

// Reads what a log file gains. Not thread-safe.
class LogFollower {
 public:
  // From `begin` bytes on.
  LogFollower(std::string path, int64_t begin) : path_(std::move(path)), offset_(begin) {}

  // Reads the lines that were completed since the last call. A file that
  // can't be read is as one that gained nothing.
  void Poll();

  // The last that was said.
  const std::optional<ProcessProgress>& progress() const { return progress_; }

 private:
  void TakeLines(absl::string_view text);

  const std::string path_;
  int64_t offset_;
  // A line whose end isn't there yet.
  std::string partial_;
  std::optional<ProcessProgress> progress_;
};

// The last lines of the file from `begin` bytes on, at most `count`, empty ones left out, each cut
// to 400 bytes.
std::vector<std::string> LastLines(const std::string& path, int64_t begin, int count);

}  // namespace kvp

#endif  // KVP_LAUNCHER_LOG_FOLLOWER_H_

// Progress of a long task on stderr: a bar on a terminal, elsewhere log lines of the form
// "progress DONE/TOTAL UNIT, detail", which the launcher reads.

#ifndef KVP_UTIL_PROGRESS_H_
#define KVP_UTIL_PROGRESS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace kvp {

// Not thread-safe.
class Progress {
 public:
  // `unit` as in "traces"; `total` is the number of units that the task has, those done before
  // included.
  Progress(std::string unit, int64_t total);

  // The task has become larger.
  void set_total(int64_t total) { total_ = total; }

  // Shows `done` and `detail` ("3.1 traces/s"), at most once a second.
  void Update(int64_t done, absl::string_view detail);
  // Shows the final state, always, and ends the bar's line.
  void Finish(int64_t done, absl::string_view detail);

 private:
  void Show(int64_t done, absl::string_view detail);

  const std::string unit_;
  int64_t total_;
  const bool terminal_;
  absl::Time next_;
};

namespace internal {
// "[#####.....] 12/24 traces, detail" of at most `columns` characters.
std::string ProgressBar(int64_t done, int64_t total, absl::string_view unit,
                        absl::string_view detail, int columns);
}  // namespace internal

}  // namespace kvp

#endif  // KVP_UTIL_PROGRESS_H_

#include "util/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "util/logging.h"

namespace kvp {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(1);
constexpr int kBarColumns = 24;

int TerminalColumns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string CountText(int64_t done, int64_t total, absl::string_view unit,
                      absl::string_view detail) {
  return absl::StrCat(done, "/", total, " ", unit, detail.empty() ? "" : ", ", detail);
}

}  // namespace

namespace internal {

std::string ProgressBar(int64_t done, int64_t total, absl::string_view unit,
                        absl::string_view detail, int columns) {
  const double share =
      total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 1;
  const int filled = static_cast<int>(share * kBarColumns);
  std::string line =
      absl::StrCat("[", std::string(filled, '#'), std::string(kBarColumns - filled, '.'), "] ",
                   CountText(done, total, unit, detail));
  if (line.size() > static_cast<size_t>(columns)) line.resize(columns);
  return line;
}

}  // namespace internal

Progress::Progress(std::string unit, int64_t total)
    : unit_(std::move(unit)),
      total_(total),
      terminal_(isatty(STDERR_FILENO) == 1),
      next_(absl::InfinitePast()) {}

void Progress::Update(int64_t done, absl::string_view detail) {
  const absl::Time now = absl::Now();
  if (now < next_) return;
  next_ = now + kInterval;
  Show(done, detail);
}

void Progress::Finish(int64_t done, absl::string_view detail) {
  Show(done, detail);
  if (terminal_) std::cerr << std::endl;
}

void Progress::Show(int64_t done, absl::string_view detail) {
  if (!terminal_) {
    LogInfo(absl::StrCat("progress ", CountText(done, total_, unit_, detail)));
    return;
  }
  // Back to the line's begin, the bar, and nothing left of a longer one before it.
  std::cerr << "\r" << internal::ProgressBar(done, total_, unit_, detail, TerminalColumns() - 1)
            << "\033[K" << std::flush;
}

}  // namespace kvp

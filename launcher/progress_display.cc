#include "launcher/progress_display.h"

#include <sys/ioctl.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvp {
namespace {

constexpr absl::Duration kPlainInterval = absl::Seconds(10);
constexpr int kBarCells = 20;

std::string Bar(const ProcessProgress& progress) {
  const int64_t filled =
      std::clamp<int64_t>(progress.done * kBarCells / progress.total, 0, kBarCells);
  return absl::StrCat("[", std::string(filled, '#'), std::string(kBarCells - filled, '.'), "]");
}

std::string Counts(const ProcessProgress& progress) {
  return absl::StrCat(progress.done, "/", progress.total, progress.unit.empty() ? "" : " ",
                      progress.unit);
}

int Columns(FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

std::string ElapsedText(absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  if (seconds < 59.95) return absl::StrFormat("%.1f s", seconds);
  const int64_t whole = absl::ToInt64Seconds(elapsed);
  return absl::StrFormat("%d min %02d s", whole / 60, whole % 60);
}

void ProgressDisplay::ClearLine() {
  if (drawn_) std::fputs("\r\x1b[K", out_);
  drawn_ = false;
}

void ProgressDisplay::Begin(int number, int count, absl::string_view stage, absl::Time now) {
  prefix_ = absl::StrFormat("[%d/%d] %s", number, count, stage);
  begin_ = now;
  last_line_ = now;
  last_ = ProcessProgress();
  if (!terminal_) Line(prefix_);
}

void ProgressDisplay::Update(const ProcessProgress& progress, absl::Time now) {
  const std::string elapsed = ElapsedText(now - begin_);
  if (terminal_) {
    std::string line = prefix_;
    if (progress.total > 0) absl::StrAppend(&line, " ", Bar(progress), " ", Counts(progress));
    absl::StrAppend(&line, "  ", elapsed);
    if (!progress.detail.empty()) absl::StrAppend(&line, "  ", progress.detail);
    // A line that wraps couldn't be redrawn.
    line.resize(std::min<size_t>(line.size(), std::max(Columns(out_) - 1, 1)));
    std::fprintf(out_, "\r\x1b[K%s", line.c_str());
    std::fflush(out_);
    drawn_ = true;
  } else if (progress.total > 0 && now - last_line_ >= kPlainInterval &&
             progress.done != last_.done) {
    Line(absl::StrCat(prefix_, ": ", Counts(progress), ", ", elapsed,
                      progress.detail.empty() ? "" : ", ", progress.detail));
    last_line_ = now;
  }
  last_ = progress;
}

void ProgressDisplay::End(absl::string_view result, absl::Time now) {
  Line(absl::StrCat(prefix_, ": ", result, " in ", ElapsedText(now - begin_),
                    last_.total > 0 ? absl::StrCat(" (", Counts(last_), ")") : ""));
}

void ProgressDisplay::Line(absl::string_view text) {
  ClearLine();
  std::fprintf(out_, "%s\n", std::string(text).c_str());
  std::fflush(out_);
}

}  // namespace kvp

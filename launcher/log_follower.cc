#include "launcher/log_follower.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace kvp {
namespace {

constexpr absl::string_view kMarker = "progress ";
constexpr size_t kMaxPollBytes = int64_t{1} << 20;
constexpr int64_t kMaxTailBytes = int64_t{1} << 16;
constexpr size_t kMaxLineBytes = 400;

std::string ReadFrom(const std::string& path, int64_t begin, int64_t max_bytes) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(begin);
  std::string text(max_bytes, '\0');
  file.read(text.data(), max_bytes);
  text.resize(file.gcount() > 0 ? file.gcount() : 0);
  return text;
}

bool TakeNumber(absl::string_view* text, int64_t* number) {
  size_t digits = 0;
  while (digits < text->size() && absl::ascii_isdigit((*text)[digits])) ++digits;
  if (!absl::SimpleAtoi(text->substr(0, digits), number)) return false;
  text->remove_prefix(digits);
  return true;
}

}  // namespace

std::optional<ProcessProgress> ParseProgress(absl::string_view line) {
  const size_t marker = line.rfind(kMarker);
  if (marker == absl::string_view::npos) return std::nullopt;
  absl::string_view rest = line.substr(marker + kMarker.size());
  ProcessProgress progress;
  if (!TakeNumber(&rest, &progress.done) || rest.empty() || rest[0] != '/') return std::nullopt;
  rest.remove_prefix(1);
  if (!TakeNumber(&rest, &progress.total) || progress.total <= 0) return std::nullopt;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(rest, absl::MaxSplits(',', 1));
  progress.unit = std::string(absl::StripAsciiWhitespace(parts.first));
  progress.detail = std::string(absl::StripAsciiWhitespace(parts.second));
  return progress;
}

void LogFollower::Poll() {
  std::string text;
  do {
    text = ReadFrom(path_, offset_, kMaxPollBytes);
    offset_ += text.size();
    TakeLines(text);
  } while (text.size() == kMaxPollBytes);
}

void LogFollower::TakeLines(absl::string_view text) {
  absl::StrAppend(&partial_, text);
  const size_t end = partial_.rfind('\n');
  if (end == std::string::npos) {
    // A line without an end isn't worth keeping for ever.
    if (partial_.size() > kMaxTailBytes) partial_.clear();
    return;
  }
  const std::vector<absl::string_view> lines =
      absl::StrSplit(absl::string_view(partial_).substr(0, end), '\n');
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    std::optional<ProcessProgress> progress = ParseProgress(*line);
    if (progress.has_value()) {
      progress_ = std::move(progress);
      break;
    }
  }
  partial_.erase(0, end + 1);
}

std::vector<std::string> LastLines(const std::string& path, int64_t begin, int count) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const int64_t size = file.tellg();
  const std::string text = ReadFrom(path, std::max(begin, size - kMaxTailBytes), kMaxTailBytes);
  std::vector<std::string> lines =
      absl::StrSplit(text, absl::ByAnyChar("\r\n"), absl::SkipWhitespace());
  if (lines.size() > static_cast<size_t>(count)) lines.erase(lines.begin(), lines.end() - count);
  for (std::string& line : lines) line.resize(std::min(line.size(), kMaxLineBytes));
  return lines;
}

}  // namespace kvp

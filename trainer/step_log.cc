#include "trainer/step_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "util/file.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// The lines of steps up to `steps`. A last line that a kill has cut off is none.
std::string LinesUpTo(const std::string& path, int64_t steps) {
  const absl::StatusOr<std::string> text = steps > 0 ? ReadFile(path) : std::string();
  std::string kept;
  if (!text.ok()) return kept;
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const absl::StatusOr<nlohmann::json> json = ParseJson(line, path);
    if (!json.ok() || !json->is_object()) continue;
    const auto step = json->find("step");
    if (step == json->end() || !step->is_number_integer() || *step > steps) continue;
    absl::StrAppend(&kept, line, "\n");
  }
  return kept;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepLog>> StepLog::Open(const std::string& path, int64_t steps) {
  std::unique_ptr<StepLog> log(new StepLog(path));
  const std::string kept = LinesUpTo(path, steps);
  log->file_.open(path, std::ios::trunc);
  if (!log->file_) return absl::UnavailableError(absl::StrCat(path, ": can't be created"));
  log->file_ << kept;
  RETURN_IF_ERROR(log->Flush());
  return log;
}

void StepLog::Add(const nlohmann::json& line) { file_ << line.dump() << "\n"; }

absl::Status StepLog::Flush() {
  file_.flush();
  if (file_) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path_, ": can't be written"));
}

}  // namespace kvp

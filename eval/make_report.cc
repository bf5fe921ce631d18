// report: draws report.html and the README's picture from a results.json that is there already.

#include <string>

#include "absl/flags/flag.h"
#include "eval/report.h"
#include "eval/results.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/status_macros.h"

ABSL_FLAG(std::string, json, "", "The results.json to read.");
ABSL_FLAG(std::string, report, "", "Where report.html goes.");
ABSL_FLAG(std::string, picture, "", "Where an SVG of the curves goes.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(report: draws the report of an evaluation anew from its results.json.

Examples:
  report --json results.json --report report.html
  report --json results.json --picture docs/report.svg)";

absl::Status Run() {
  ASSIGN_OR_RETURN(const Results results, ReadResults(absl::GetFlag(FLAGS_json)));
  if (const std::string path = absl::GetFlag(FLAGS_report); !path.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(path, {ReportHtml(results)}));
  }
  if (const std::string path = absl::GetFlag(FLAGS_picture); !path.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(path, {ReportPicture(results)}));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  const auto positional = kvp::ParseCommandLine(argc, argv, kvp::kUsage);
  if (!positional.empty()) return kvp::UsageError("unexpected argument " + positional[0]);
  if (absl::GetFlag(FLAGS_json).empty()) return kvp::UsageError("--json is missing");
  return kvp::ExitStatus(kvp::Run());
}

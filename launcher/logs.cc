// kvp logs: what a job's processes say.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <system_error>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "launcher/job_folder.h"
#include "launcher/job_state.h"
#include "util/command_line.h"
#include "util/status_macros.h"

ABSL_FLAG(bool, follow, false, "Go on with what is said, until the job has ended. Also -f.");
ABSL_FLAG(int, lines, 0, "Only the last so many lines of each; 0: all.");

namespace {

namespace fs = std::filesystem;

constexpr char kUsage[] =
    R"(logs: what a job's processes wrote to their logs.

  kvp logs OUTPUT_DIR [ROLE | ROLE/INDEX] [-f] [--lines N]

Of several processes each line is marked with its process's name.

Examples:
  kvp logs out/quickstart trainer/0 -f
  kvp logs out/quickstart collector --lines 20
  kvp logs out/quickstart

Exit status: 0 done, 1 failed, 2 wrong usage.)";

// One log: what of it was printed.
struct Log {
  std::string path;
  std::streamoff offset = 0;
};

using Logs = std::map<std::string, Log>;

// Adds the logs in the folder that `selection` names and that aren't there yet.
void FindLogs(const std::string& folder, const std::string& selection, Logs* logs) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder + "/logs", error)) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() != ".log") continue;
    if (!selection.empty() && !kvp::NamesProcess(selection, name)) continue;
    logs->insert({name, {entry.path().string()}});
  }
}

// The whole lines that the log has gained.
std::vector<std::string> NewLines(Log* log) {
  std::vector<std::string> lines;
  std::ifstream file(log->path, std::ios::binary);
  file.seekg(log->offset);
  std::string line;
  while (std::getline(file, line) && !file.eof()) {
    log->offset += line.size() + 1;
    lines.push_back(line);
  }
  return lines;
}

void Print(Logs* logs, size_t last) {
  for (auto& [name, log] : *logs) {
    const std::vector<std::string> lines = NewLines(&log);
    const size_t begin = last == 0 || lines.size() <= last ? 0 : lines.size() - last;
    for (size_t i = begin; i < lines.size(); ++i) {
      if (logs->size() > 1) std::cout << name << "  ";
      std::cout << lines[i] << "\n";
    }
  }
  std::cout << std::flush;
}

absl::Status Run(const std::string& folder, const std::string& selection) {
  RETURN_IF_ERROR(kvp::ReadJobState(folder).status());
  Logs logs;
  FindLogs(folder, selection, &logs);
  if (logs.empty() && !absl::GetFlag(FLAGS_follow)) {
    return absl::NotFoundError(
        absl::StrCat(folder, "/logs: no log", selection.empty() ? "" : " of ", selection));
  }
  Print(&logs, std::max(absl::GetFlag(FLAGS_lines), 0));
  while (absl::GetFlag(FLAGS_follow)) {
    const bool running = kvp::IsJobRunning(folder);
    FindLogs(folder, selection, &logs);
    Print(&logs, 0);
    if (!running) break;
    absl::SleepFor(absl::Milliseconds(200));
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  std::string follow = "--follow";
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "-f") argv[i] = follow.data();
  }
  const std::vector<std::string> arguments = kvp::ParseCommandLine(argc, argv, kUsage);
  if (arguments.empty() || arguments.size() > 2) {
    return kvp::UsageError(absl::StrCat("needs an output folder, and at most one ROLE/INDEX, got ",
                                        arguments.size(), " arguments (kvp logs --help)"));
  }
  return kvp::ExitStatus(Run(arguments[0], arguments.size() > 1 ? arguments[1] : ""));
}

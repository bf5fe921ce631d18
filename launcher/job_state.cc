#include "launcher/job_state.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "launcher/job_folder.h"
#include "launcher/progress_display.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::ordered_json;

// "collector-train-0" is {"collector-train", "0"}.
std::pair<absl::string_view, absl::string_view> RoleAndIndex(absl::string_view name) {
  const size_t dash = name.rfind('-');
  if (dash == absl::string_view::npos) return {name, ""};
  return {name.substr(0, dash), name.substr(dash + 1)};
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
}

// Reads fields of one JSON object; the first one that is missing or of another type is remembered.
class Fields {
 public:
  Fields(const nlohmann::json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json_.is_object()) Fail("isn't a JSON object");
  }

  std::string Text(const char* key) {
    const auto found = json_.find(key);
    if (found != json_.end() && found->is_string()) return found->get<std::string>();
    Fail(absl::StrCat(key, ": is missing or no string"));
    return "";
  }
  int64_t Number(const char* key) {
    const auto found = json_.find(key);
    if (found != json_.end() && found->is_number_integer()) return found->get<int64_t>();
    Fail(absl::StrCat(key, ": is missing or no integer"));
    return 0;
  }
  absl::Time Time(const char* key) {
    absl::Time time = absl::UnixEpoch();
    std::string error;
    if (!absl::ParseTime(absl::RFC3339_full, Text(key), &time, &error)) {
      Fail(absl::StrCat(key, ": is no time"));
    }
    return time;
  }

  const absl::Status& status() const { return status_; }

 private:
  void Fail(absl::string_view problem) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(where_, ": ", problem));
  }

  const nlohmann::json& json_;
  const std::string where_;
  absl::Status status_;
};

Json ProcessJson(const ProcessState& process) {
  const auto [role, index] = RoleAndIndex(process.name);
  Json json = {{"name", process.name},         {"role", std::string(role)},
               {"index", std::string(index)},  {"stage", process.stage},
               {"host", process.host},         {"pid", process.pid},
               {"port", process.port},         {"status", process.status},
               {"restarts", process.restarts}, {"log", process.log}};
  if (process.progress.has_value()) {
    json["progress"] = {{"done", process.progress->done},
                        {"total", process.progress->total},
                        {"unit", process.progress->unit},
                        {"detail", process.progress->detail}};
  }
  return json;
}

absl::StatusOr<ProcessState> ParseProcess(const nlohmann::json& json, const std::string& where) {
  Fields fields(json, where);
  RETURN_IF_ERROR(fields.status());
  ProcessState process;
  process.name = fields.Text("name");
  process.stage = fields.Text("stage");
  process.host = fields.Text("host");
  process.pid = fields.Number("pid");
  process.port = static_cast<int>(fields.Number("port"));
  process.status = fields.Text("status");
  process.restarts = static_cast<int>(fields.Number("restarts"));
  process.log = fields.Text("log");
  RETURN_IF_ERROR(fields.status());
  if (const auto found = json.find("progress"); found != json.end()) {
    Fields progress(*found, absl::StrCat(where, ".progress"));
    RETURN_IF_ERROR(progress.status());
    process.progress = {progress.Number("done"), progress.Number("total"), progress.Text("unit"),
                        progress.Text("detail")};
    RETURN_IF_ERROR(progress.status());
  }
  return process;
}

std::string ProgressText(const std::optional<ProcessProgress>& progress) {
  if (!progress.has_value()) return "";
  return absl::StrCat(progress->done, "/", progress->total, " ", progress->unit,
                      progress->detail.empty() ? "" : ", ", progress->detail);
}

}  // namespace

std::string JobStateJson(const JobState& state) {
  Json json = {{"name", state.name},
               {"status", state.status},
               {"error", state.error},
               {"host", state.host},
               {"pid", state.pid},
               {"stage", state.stage},
               {"stage_number", state.stage_number},
               {"stage_count", state.stage_count},
               {"begin", TimeText(state.begin)},
               {"updated", TimeText(state.updated)}};
  json["processes"] = Json::array();
  for (const ProcessState& process : state.processes) {
    json["processes"].push_back(ProcessJson(process));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<JobState> ParseJobState(absl::string_view text, const std::string& file) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(std::string(text), file));
  Fields fields(json, file);
  RETURN_IF_ERROR(fields.status());
  JobState state;
  state.name = fields.Text("name");
  state.status = fields.Text("status");
  state.error = fields.Text("error");
  state.host = fields.Text("host");
  state.pid = fields.Number("pid");
  state.stage = fields.Text("stage");
  state.stage_number = static_cast<int>(fields.Number("stage_number"));
  state.stage_count = static_cast<int>(fields.Number("stage_count"));
  state.begin = fields.Time("begin");
  state.updated = fields.Time("updated");
  RETURN_IF_ERROR(fields.status());
  const auto processes = json.find("processes");
  if (processes == json.end() || !processes->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": processes: is missing or no list"));
  }
  for (size_t i = 0; i < processes->size(); ++i) {
    ASSIGN_OR_RETURN(ProcessState process,
                     ParseProcess((*processes)[i], absl::StrCat(file, ": processes[", i, "]")));
    state.processes.push_back(std::move(process));
  }
  return state;
}

absl::StatusOr<JobState> ReadJobState(const std::string& folder) {
  const bool running = IsJobRunning(folder);
  const std::string path = StatePath(folder);
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(path, ": there is none: no job was launched in ", folder));
  }
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(JobState state, ParseJobState(*text, path));
  if (state.status == "running" && !running) {
    state.status = "interrupted";
    for (ProcessState& process : state.processes) {
      if (process.status == "done" || process.status == "failed") continue;
      process.status = "stopped";
      process.pid = 0;
    }
  }
  return state;
}

std::string JobStateText(const JobState& state, absl::Time now) {
  const bool running = state.status == "running";
  std::string text = absl::StrCat(state.name, ": ", state.status);
  if (state.stage_number > 0) {
    absl::StrAppend(&text, ", stage ", state.stage_number, "/", state.stage_count, " ",
                    state.stage);
  }
  absl::StrAppend(&text, ", ", ElapsedText((running ? now : state.updated) - state.begin),
                  running ? absl::StrCat(", launcher ", state.pid, " on ", state.host) : "", "\n");
  if (!state.error.empty()) absl::StrAppend(&text, "error: ", state.error, "\n");
  size_t name_width = 7, host_width = 4;
  for (const ProcessState& process : state.processes) {
    name_width = std::max(name_width, process.name.size());
    host_width = std::max(host_width, process.host.size());
  }
  absl::StrAppendFormat(&text, "%-*s  %-8s  %-*s  %8s  %5s  %8s  %s\n", name_width, "PROCESS",
                        "STATUS", host_width, "HOST", "PID", "PORT", "RESTARTS", "PROGRESS");
  for (const ProcessState& process : state.processes) {
    absl::StrAppendFormat(&text, "%-*s  %-8s  %-*s  %8s  %5s  %8d  %s\n", name_width, process.name,
                          process.status, host_width, process.host,
                          process.pid == 0 ? "-" : absl::StrCat(process.pid),
                          process.port == 0 ? "-" : absl::StrCat(process.port), process.restarts,
                          ProgressText(process.progress));
  }
  return text;
}

bool NamesProcess(absl::string_view selection, absl::string_view name) {
  if (selection == name) return true;
  const std::pair<absl::string_view, absl::string_view> wanted =
      absl::StrSplit(selection, absl::MaxSplits('/', 1));
  const auto [role, index] = RoleAndIndex(name);
  if (!wanted.second.empty() && wanted.second != index) return false;
  return role == wanted.first || absl::StartsWith(role, absl::StrCat(wanted.first, "-"));
}

}  // namespace kvp

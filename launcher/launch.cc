#include "launcher/launch.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr absl::Duration kTerminalTick = absl::Milliseconds(200);
constexpr absl::Duration kPlainTick = absl::Seconds(1);
constexpr absl::Duration kPortTick = absl::Milliseconds(20);
constexpr int kLastLines = 12;

// The port in the file, 0 where it isn't there yet.
int ReadPort(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  int port = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &port)) return 0;
  return port > 0 && port < 65536 ? port : 0;
}

bool IsShard(const Plan& plan, const std::string& name) {
  return std::any_of(plan.shards.processes.begin(), plan.shards.processes.end(),
                     [&](const ProcessSpec& shard) { return shard.name == name; });
}

}  // namespace

Launch::Launch(Plan plan, Manifest manifest, std::string manifest_path, Backend* backend,
               LaunchOptions options)
    : plan_(std::move(plan)),
      manifest_(std::move(manifest)),
      manifest_path_(std::move(manifest_path)),
      backend_(backend),
      options_(options),
      display_(options.out, options.terminal) {}

absl::Status Launch::Run() {
  RETURN_IF_ERROR(WriteManifest(manifest_, manifest_path_));
  absl::Status status = RunStages();
  if (!status.ok()) {
    const auto stopped = backend_->StopAll(options_.drain);
    if (!stopped.ok()) display_.Line(std::string(stopped.status().message()));
  }
  manifest_.result = status.ok() ? "done" : absl::IsCancelled(status) ? "stopped" : "failed";
  manifest_.error = std::string(status.message());
  const absl::Status written = WriteManifest(manifest_, manifest_path_);
  return status.ok() ? written : status;
}

absl::Status Launch::RunStages() {
  RETURN_IF_ERROR(Timed(plan_.shards.name, [&] { return StartShards(); }));
  for (const Stage& stage : plan_.stages) {
    RETURN_IF_ERROR(Timed(stage.name, [&] { return RunStage(stage); }));
  }
  return Timed("stop the shards", [&] { return StopShards(); });
}

template <typename Body>
absl::Status Launch::Timed(const std::string& name, Body body) {
  const absl::Time begin = absl::Now();
  const int count = static_cast<int>(plan_.stages.size()) + 2;
  display_.Begin(++stage_number_, count, name, begin);
  const absl::Status status = body();
  const absl::Time end = absl::Now();
  const std::string result = status.ok()                 ? "done"
                             : absl::IsCancelled(status) ? "stopped"
                                                         : "failed";
  display_.End(result, end);
  manifest_.stages.push_back({name, absl::ToDoubleSeconds(end - begin), result});
  RETURN_IF_ERROR(status);
  return WriteManifest(manifest_, manifest_path_);
}

absl::Status Launch::StartShards() {
  for (const std::string& port_file : plan_.port_files) {
    std::error_code error;
    std::filesystem::remove(port_file, error);
  }
  for (const ProcessSpec& shard : plan_.shards.processes) RETURN_IF_ERROR(Start(shard));
  const absl::Time deadline = absl::Now() + options_.shard_start_timeout;
  std::vector<std::string> addresses;
  while (addresses.size() < plan_.port_files.size()) {
    const std::string& port_file = plan_.port_files[addresses.size()];
    const int port = ReadPort(port_file);
    if (port != 0) {
      addresses.push_back(absl::StrCat("127.0.0.1:", port));
      continue;
    }
    if (absl::Now() >= deadline) {
      const ProcessSpec& shard = plan_.shards.processes[addresses.size()];
      return absl::InternalError(absl::StrCat(shard.name, " doesn't serve after ",
                                              ElapsedText(options_.shard_start_timeout), ": no ",
                                              port_file, "; log: ", shard.log_path));
    }
    RETURN_IF_ERROR(WaitForEnded(kPortTick).status());
  }
  addresses_ = absl::StrJoin(addresses, ",");
  return absl::OkStatus();
}

absl::Status Launch::RunStage(const Stage& stage) {
  followers_.clear();
  attempts_.clear();
  std::set<std::string> running;
  // An earlier launch's output must not pass for this one's.
  for (const std::string& output : stage.outputs) {
    std::error_code error;
    std::filesystem::remove(output, error);
  }
  for (const ProcessSpec& process : stage.processes) {
    RETURN_IF_ERROR(Start(process));
    running.insert(process.name);
  }
  while (!running.empty()) {
    ASSIGN_OR_RETURN(const std::vector<EndedProcess> ended,
                     WaitForEnded(options_.terminal ? kTerminalTick : kPlainTick));
    for (const EndedProcess& process : ended) {
      if (process.end.ok() && !EndedEarly(process)) {
        running.erase(process.spec.name);
      } else {
        RETURN_IF_ERROR(HandleEnded(process));
      }
    }
    display_.Update(TotalProgress(), absl::Now());
  }
  for (const std::string& output : stage.outputs) {
    std::error_code error;
    if (std::filesystem::exists(output, error)) continue;
    return absl::InternalError(absl::StrCat(stage.processes[0].name, " ended well but wrote no ",
                                            output, "; log: ", stage.processes[0].log_path));
  }
  for (const std::string& temporary : stage.temporaries) {
    std::error_code error;
    std::filesystem::remove_all(temporary, error);
  }
  return absl::OkStatus();
}

absl::Status Launch::StopShards() {
  std::vector<std::string> names;
  for (const ProcessSpec& shard : plan_.shards.processes) names.push_back(shard.name);
  ASSIGN_OR_RETURN(const std::vector<EndedProcess> ended, backend_->Stop(names, options_.drain));
  for (const EndedProcess& process : ended) {
    if (process.end.ok() || (process.end.signalled && process.end.code == SIGTERM)) continue;
    return Failure(process, "didn't stop well: it ended with");
  }
  return absl::OkStatus();
}

absl::Status Launch::Start(const ProcessSpec& spec) {
  ProcessSpec resolved = spec;
  for (std::string& argument : resolved.argv) {
    argument = absl::StrReplaceAll(argument, {{kShardAddresses, addresses_}});
  }
  ASSIGN_OR_RETURN(const int64_t log_begin, backend_->Start(resolved));
  followers_[spec.name] = std::make_unique<LogFollower>(spec.log_path, log_begin);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<EndedProcess>> Launch::WaitForEnded(absl::Duration timeout) {
  ASSIGN_OR_RETURN(Backend::Events events, backend_->Wait(timeout));
  if (events.stop_signal != 0) {
    stop_signal_ = events.stop_signal;
    return absl::CancelledError(
        absl::StrCat("stopped by signal ", stop_signal_, " (", strsignal(stop_signal_), ")"));
  }
  // Shards were started first, so they come first: what ends because a shard did isn't blamed.
  for (const EndedProcess& process : events.ended) {
    if (IsShard(plan_, process.spec.name)) return Failure(process, "died: it ended with");
  }
  return std::move(events.ended);
}

absl::Status Launch::HandleEnded(const EndedProcess& process) {
  const bool refused = !process.end.signalled && process.end.code == kExitUsage;
  int& attempts = attempts_[process.spec.name];
  if (refused || attempts >= options_.retries) {
    return Failure(process, refused            ? "refused its arguments:"
                            : process.end.ok() ? "ended before it was done, with"
                                               : "died: it ended with");
  }
  ++attempts;
  display_.Line(absl::StrCat(process.spec.name, " died (", process.end.Text(),
                             "): it is started again, ", attempts, " of ", options_.retries,
                             "; log: ", process.spec.log_path));
  return Start(process.spec);
}

absl::Status Launch::Failure(const EndedProcess& process, const std::string& how) {
  const std::vector<std::string> lines =
      LastLines(process.spec.log_path, process.log_begin, kLastLines);
  display_.Line(absl::StrCat("last lines of ", process.spec.log_path, ":"));
  for (const std::string& line : lines) display_.Line(absl::StrCat("  | ", line));
  return absl::InternalError(absl::StrCat(
      process.spec.name, " ", how, " ", process.end.Text(), "; log: ", process.spec.log_path,
      lines.empty() ? "" : "; last line: ", lines.empty() ? "" : lines.back()));
}

bool Launch::EndedEarly(const EndedProcess& process) {
  LogFollower& follower = *followers_[process.spec.name];
  follower.Poll();
  const std::optional<ProcessProgress>& progress = follower.progress();
  return progress.has_value() && progress->done < progress->total;
}

ProcessProgress Launch::TotalProgress() {
  ProcessProgress total;
  for (auto& [name, follower] : followers_) {
    follower->Poll();
    const std::optional<ProcessProgress>& progress = follower->progress();
    if (!progress.has_value()) continue;
    total.done += progress->done;
    total.total += progress->total;
    total.unit = progress->unit;
    // Side by side, each tells of itself alone: the first speaks for all.
    if (total.detail.empty()) total.detail = progress->detail;
  }
  return total;
}

}  // namespace kvp

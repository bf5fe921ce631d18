#include "launcher/supervisor.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "launcher/health_check.h"
#include "launcher/progress_display.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr absl::Duration kStartingInterval = absl::Milliseconds(50);
constexpr int kLastLines = 12;

// The port in the file, 0 where it isn't there yet.
int ReadPort(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  int port = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &port)) return 0;
  return port > 0 && port < 65536 ? port : 0;
}

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace

Supervisor::Supervisor(Backend* backend, Options options,
                       std::function<void(absl::string_view)> say)
    : backend_(backend), options_(std::move(options)), say_(std::move(say)) {}

Supervisor::Watched* Supervisor::Find(const std::string& name) {
  for (const auto& watched : watched_) {
    if (watched->spec.name == name) return watched.get();
  }
  return nullptr;
}

absl::Status Supervisor::Start(const std::string& stage, const ProcessSpec& spec) {
  if (Find(spec.name) != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat(spec.name, ": was started already"));
  }
  auto watched = std::make_unique<Watched>();
  watched->spec = spec;
  watched->state.name = spec.name;
  watched->state.stage = stage;
  watched->state.host = spec.host.empty() ? HostName() : spec.host;
  watched->state.log = spec.log_path;
  watched_.push_back(std::move(watched));
  return Run(watched_.back().get());
}

absl::Status Supervisor::Run(Watched* watched) {
  if (watched->is_server()) {
    std::error_code error;
    std::filesystem::remove(watched->spec.port_file, error);
  }
  watched->state.status = "failed";
  ASSIGN_OR_RETURN(const Backend::Started started, backend_->Start(watched->spec));
  watched->log_begin = started.log_begin;
  watched->follower = std::make_unique<LogFollower>(watched->spec.log_path, started.log_begin);
  watched->started = absl::Now();
  watched->next_check = watched->started;
  watched->health_failures = 0;
  watched->restart_at.reset();
  watched->state.pid = started.pid;
  watched->state.status = watched->is_server() ? "starting" : "running";
  return absl::OkStatus();
}

absl::Status Supervisor::StartDue(absl::Time now) {
  for (const auto& watched : watched_) {
    if (!watched->restart_at.has_value() || *watched->restart_at > now) continue;
    RETURN_IF_ERROR(Run(watched.get()));
  }
  return absl::OkStatus();
}

absl::Duration Supervisor::TimeToWait(absl::Time now, absl::Duration timeout) const {
  absl::Time until = now + timeout;
  for (const auto& watched : watched_) {
    if (watched->restart_at.has_value()) until = std::min(until, *watched->restart_at);
    if (watched->is_server() && watched->state.pid != 0) {
      until = std::min(until, watched->next_check);
    }
  }
  return std::max(until - now, absl::ZeroDuration());
}

absl::Status Supervisor::Wait(absl::Duration timeout) {
  RETURN_IF_ERROR(StartDue(absl::Now()));
  ASSIGN_OR_RETURN(Backend::Events events, backend_->Wait(TimeToWait(absl::Now(), timeout)));
  if (events.stop_signal != 0) {
    stop_signal_ = events.stop_signal;
    return absl::CancelledError(
        absl::StrCat("stopped by signal ", stop_signal_, " (", strsignal(stop_signal_), ")"));
  }
  RETURN_IF_ERROR(HandleEnded(std::move(events.ended)));
  return CheckServers(absl::Now());
}

absl::Status Supervisor::CheckServers(absl::Time now) {
  std::vector<Watched*> asked;
  std::vector<std::string> addresses;
  for (const auto& server : watched_) {
    if (!server->is_server() || server->state.pid == 0 || server->next_check > now) continue;
    server->next_check = now + kStartingInterval;
    const int port = ReadPort(server->spec.port_file);
    if (port == 0 && now - server->started > options_.start_timeout) {
      return Failure(server.get(),
                     absl::StrCat("doesn't serve after ", ElapsedText(options_.start_timeout),
                                  ": no ", server->spec.port_file));
    }
    if (port == 0) continue;
    server->state.port = port;
    server->address = absl::StrCat(server->spec.address, ":", port);
    asked.push_back(server.get());
    addresses.push_back(server->address);
  }
  if (asked.empty()) return absl::OkStatus();
  const std::vector<absl::Status> healths =
      CheckHealth(addresses, options_.tls, options_.health_timeout);
  for (size_t i = 0; i < asked.size(); ++i) {
    RETURN_IF_ERROR(TakeHealth(asked[i], healths[i], absl::Now()));
  }
  return absl::OkStatus();
}

absl::Status Supervisor::TakeHealth(Watched* server, const absl::Status& health, absl::Time now) {
  if (health.ok()) {
    server->state.status = "running";
    server->health_failures = 0;
    server->next_check = now + options_.health_interval;
    return absl::OkStatus();
  }
  if (absl::IsInvalidArgument(health) || absl::IsNotFound(health)) return health;
  if (server->state.status == "starting") {
    if (now - server->started <= options_.start_timeout) return absl::OkStatus();
    return Failure(server, absl::StrCat("doesn't serve after ", ElapsedText(options_.start_timeout),
                                        ": ", health.message()));
  }
  server->next_check = now + options_.health_interval;
  if (++server->health_failures < options_.health_failures) return absl::OkStatus();
  say_(absl::StrCat(server->spec.name, " is killed: ", server->health_failures,
                    " health checks in a row failed: ", health.message()));
  ASSIGN_OR_RETURN(std::vector<EndedProcess> ended,
                   backend_->Stop({server->spec.name}, absl::ZeroDuration()));
  return HandleEnded(std::move(ended));
}

absl::Status Supervisor::HandleEnded(std::vector<EndedProcess> ended) {
  // What ends because a server did isn't blamed.
  std::stable_partition(ended.begin(), ended.end(), [](const EndedProcess& process) {
    return !process.spec.port_file.empty();
  });
  for (const EndedProcess& process : ended) {
    Watched* watched = Find(process.spec.name);
    if (watched == nullptr) continue;
    watched->state.pid = 0;
    const bool early = process.end.ok() && (watched->is_server() || EndedEarly(watched));
    if (process.end.ok() && !early) {
      watched->state.status = "done";
      continue;
    }
    RETURN_IF_ERROR(HandleDeath(watched, process.end,
                                early ? "ended before it was done, with" : "died: it ended with"));
  }
  return absl::OkStatus();
}

absl::Status Supervisor::HandleDeath(Watched* watched, const ProcessEnd& end,
                                     absl::string_view how) {
  if (!end.signalled && end.code == kExitUsage) {
    return Failure(watched, absl::StrCat("refused its arguments: ", end.Text()));
  }
  ProcessState& state = watched->state;
  if (state.restarts >= options_.retries) {
    return Failure(watched, absl::StrCat(how, " ", end.Text()));
  }
  absl::Duration backoff = options_.first_backoff;
  for (int i = 0; i < state.restarts && backoff < options_.longest_backoff; ++i) backoff *= 2;
  backoff = std::min(backoff, options_.longest_backoff);
  ++state.restarts;
  state.status = "waiting";
  watched->restart_at = absl::Now() + backoff;
  if (watched->state.port != 0) {
    // Its clients know it by its port.
    for (std::string& argument : watched->spec.argv) {
      if (argument == absl::StrCat("--listen=", watched->spec.address, ":0")) {
        argument = absl::StrCat("--listen=", watched->address);
      }
    }
  }
  say_(absl::StrCat(watched->spec.name, " died (", end.Text(), "): it is started again in ",
                    ElapsedText(backoff), ", ", state.restarts, " of ", options_.retries,
                    "; log: ", watched->spec.log_path));
  return absl::OkStatus();
}

bool Supervisor::EndedEarly(Watched* watched) {
  watched->follower->Poll();
  const std::optional<ProcessProgress>& progress = watched->follower->progress();
  return progress.has_value() && progress->done < progress->total;
}

absl::Status Supervisor::Failure(Watched* watched, absl::string_view how) {
  watched->state.status = "failed";
  const std::string& log = watched->spec.log_path;
  const std::vector<std::string> lines = LastLines(log, watched->log_begin, kLastLines);
  say_(absl::StrCat("last lines of ", log, ":"));
  for (const std::string& line : lines) say_(absl::StrCat("  | ", line));
  return absl::InternalError(
      absl::StrCat(watched->spec.name, " ", how, "; log: ", log,
                   lines.empty() ? "" : "; last line: ", lines.empty() ? "" : lines.back()));
}

bool Supervisor::IsDone(const std::string& stage) const {
  return std::all_of(watched_.begin(), watched_.end(), [&](const auto& watched) {
    return watched->state.stage != stage || watched->state.status == "done";
  });
}

bool Supervisor::Serves(const std::string& stage) const {
  return std::all_of(watched_.begin(), watched_.end(), [&](const auto& watched) {
    return watched->state.stage != stage || watched->state.status == "running";
  });
}

std::string Supervisor::Addresses(const std::string& stage) const {
  std::string addresses;
  for (const auto& watched : watched_) {
    if (watched->state.stage != stage || !watched->is_server()) continue;
    absl::StrAppend(&addresses, addresses.empty() ? "" : ",", watched->address);
  }
  return addresses;
}

absl::StatusOr<std::vector<EndedProcess>> Supervisor::Stop(
    const std::function<bool(const Watched&)>& which) {
  std::vector<std::string> names;
  for (const auto& watched : watched_) {
    if (!which(*watched)) continue;
    if (watched->restart_at.has_value()) watched->state.status = "stopped";
    watched->restart_at.reset();
    if (watched->state.pid != 0) names.push_back(watched->spec.name);
  }
  ASSIGN_OR_RETURN(std::vector<EndedProcess> ended, backend_->Stop(names, options_.drain));
  for (const EndedProcess& process : ended) {
    Watched* watched = Find(process.spec.name);
    if (watched == nullptr) continue;
    watched->state.pid = 0;
    watched->state.status = "stopped";
  }
  return ended;
}

absl::Status Supervisor::StopStage(const std::string& stage) {
  ASSIGN_OR_RETURN(const std::vector<EndedProcess> ended,
                   Stop([&](const Watched& watched) { return watched.state.stage == stage; }));
  for (const EndedProcess& process : ended) {
    if (process.end.ok() || (process.end.signalled && process.end.code == SIGTERM)) continue;
    return Failure(Find(process.spec.name),
                   absl::StrCat("didn't stop well: it ended with ", process.end.Text()));
  }
  return absl::OkStatus();
}

absl::Status Supervisor::StopAll() {
  RETURN_IF_ERROR(Stop([](const Watched& watched) { return !watched.is_server(); }).status());
  return Stop([](const Watched& watched) { return watched.is_server(); }).status();
}

std::vector<ProcessState> Supervisor::Processes() {
  std::vector<ProcessState> processes;
  for (const auto& watched : watched_) {
    if (watched->follower != nullptr) {
      watched->follower->Poll();
      if (watched->follower->progress().has_value()) {
        watched->state.progress = watched->follower->progress();
      }
    }
    processes.push_back(watched->state);
  }
  return processes;
}

}  // namespace kvp

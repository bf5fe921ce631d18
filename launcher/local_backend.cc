#include "launcher/local_backend.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Signals sooner than this after one that asks to stop are the same request: a terminal's Ctrl-C
// goes to the launcher's whole process group, and whoever forwards it sends it again.
constexpr absl::Duration kSameRequest = absl::Milliseconds(500);

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

absl::Status ErrnoError(const char* call, int error) {
  return absl::UnavailableError(absl::StrCat("launcher: ", call, ": ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalBackend>> LocalBackend::Create() {
  const sigset_t set = HandledSignals();
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return ErrnoError("sigprocmask", errno);
  const int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) return ErrnoError("signalfd", errno);
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
    const int error = errno;
    close(signals);
    return ErrnoError("prctl", error);
  }
  return std::unique_ptr<LocalBackend>(new LocalBackend(signals));
}

LocalBackend::~LocalBackend() {
  running_.clear();
  KillOrphans({});
  close(signals_);
  const sigset_t set = HandledSignals();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

absl::StatusOr<Backend::Started> LocalBackend::Start(const ProcessSpec& spec) {
  for (const auto& process : running_) {
    if (process->spec().name == spec.name) {
      return absl::AlreadyExistsError(absl::StrCat(spec.name, ": is running already"));
    }
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Process> process, Process::Start(spec));
  running_.push_back(std::move(process));
  return Started{running_.back()->pid(), running_.back()->log_begin()};
}

absl::StatusOr<int> LocalBackend::ReadSignals(absl::Duration timeout) {
  pollfd waited{signals_, POLLIN, 0};
  const int64_t milliseconds =
      absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)));
  if (poll(&waited, 1, static_cast<int>(std::clamp<int64_t>(milliseconds, 0, 1 << 30))) < 0 &&
      errno != EINTR) {
    return ErrnoError("poll", errno);
  }
  int stop_signal = 0;
  signalfd_siginfo info;
  while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGCHLD) continue;
    const absl::Time now = absl::Now();
    if (now - stop_asked_ < kSameRequest) continue;
    stop_asked_ = now;
    stop_signal = static_cast<int>(info.ssi_signo);
  }
  return stop_signal;
}

std::vector<EndedProcess> LocalBackend::TakeEnded() {
  std::vector<EndedProcess> ended;
  std::vector<std::unique_ptr<Process>> running;
  for (auto& process : running_) {
    const std::optional<ProcessEnd> end = process->Reap();
    if (end.has_value()) {
      ended.push_back({process->spec(), *end, process->log_begin()});
    } else {
      running.push_back(std::move(process));
    }
  }
  running_ = std::move(running);
  if (!ended.empty()) {
    std::vector<pid_t> keep;
    for (const auto& process : running_) keep.push_back(process->pid());
    KillOrphans(keep);
  }
  return ended;
}

absl::StatusOr<Backend::Events> LocalBackend::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  Events events;
  while (true) {
    events.ended = TakeEnded();
    const bool wait = events.ended.empty();
    ASSIGN_OR_RETURN(events.stop_signal,
                     ReadSignals(wait ? deadline - absl::Now() : absl::ZeroDuration()));
    if (!wait || events.stop_signal != 0) return events;
    if (absl::Now() >= deadline) {
      events.ended = TakeEnded();
      return events;
    }
  }
}

absl::StatusOr<std::vector<EndedProcess>> LocalBackend::Stop(const std::vector<std::string>& names,
                                                             absl::Duration drain) {
  const auto named = [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const auto signal_all = [&](bool kill) {
    for (const auto& process : running_) {
      if (!named(process->spec().name)) continue;
      process->Signal(kill ? SIGKILL : process->spec().stop_signal);
    }
  };
  const auto any_left = [&] {
    return std::any_of(running_.begin(), running_.end(),
                       [&](const auto& process) { return named(process->spec().name); });
  };
  std::vector<EndedProcess> ended;
  signal_all(/*kill=*/false);
  absl::Time deadline = absl::Now() + drain;
  bool killed = false;
  while (any_left()) {
    ASSIGN_OR_RETURN(
        Events events,
        Wait(killed ? absl::Seconds(1) : std::max(absl::ZeroDuration(), deadline - absl::Now())));
    for (EndedProcess& process : events.ended) ended.push_back(std::move(process));
    if (!killed && (absl::Now() >= deadline || events.stop_signal != 0)) {
      signal_all(/*kill=*/true);
      killed = true;
    }
  }
  return ended;
}

absl::StatusOr<std::vector<EndedProcess>> LocalBackend::StopAll(absl::Duration drain) {
  std::vector<std::string> names;
  for (const auto& process : running_) names.push_back(process->spec().name);
  return Stop(names, drain);
}

}  // namespace kvp

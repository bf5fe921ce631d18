#include "launcher/guard.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "launcher/process.h"

namespace kvp {
namespace {

absl::Status ErrnoError(const char* call, int error) {
  return absl::UnavailableError(absl::StrCat("guard: ", call, ": ", std::strerror(error)));
}

[[noreturn]] void Guard(pid_t launcher, const sigset_t& handled) {
  while (true) {
    siginfo_t info;
    const int signal = sigwaitinfo(&handled, &info);
    if (signal < 0) continue;
    if (signal != SIGCHLD) {
      // What the terminal sends, the launcher gets by itself: it is in the same process group.
      if (info.si_code != SI_KERNEL) kill(launcher, signal);
      continue;
    }
    int status = 0;
    const pid_t ended = waitpid(launcher, &status, WNOHANG);
    if (ended != launcher) continue;
    KillOrphans({});
    _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
  }
}

}  // namespace

absl::Status StartGuard() {
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&handled, signal);
  // Blocked before the fork: no signal falls between guard and launcher.
  if (sigprocmask(SIG_BLOCK, &handled, nullptr) != 0) return ErrnoError("sigprocmask", errno);
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return ErrnoError("prctl", errno);
  const pid_t guard = getpid();
  const pid_t launcher = fork();
  if (launcher < 0) return ErrnoError("fork", errno);
  if (launcher > 0) Guard(launcher, handled);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != guard) _exit(1);
  // The signals stay blocked: the launcher's backend reads them from a descriptor.
  return absl::OkStatus();
}

}  // namespace kvp

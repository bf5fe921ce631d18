#include "tests/fault/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "tests/run_command.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::Status Denied(absl::string_view what) {
  return absl::PermissionDeniedError(
      absl::StrCat("no namespaces here: ", what, ": ", std::strerror(errno)));
}

// /proc files take their content in one write.
absl::Status WriteProcFile(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY);
  if (fd < 0) return Denied(path);
  const bool written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const absl::Status status = written ? absl::OkStatus() : Denied(path);
  close(fd);
  return status;
}

}  // namespace

absl::Status EnterNamespaces() {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0) {
    // Whoever isn't root becomes it, in a user namespace.
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0) return Denied("unshare");
    RETURN_IF_ERROR(WriteProcFile("/proc/self/setgroups", "deny"));
    RETURN_IF_ERROR(WriteProcFile("/proc/self/uid_map", absl::StrCat("0 ", user, " 1")));
    RETURN_IF_ERROR(WriteProcFile("/proc/self/gid_map", absl::StrCat("0 ", group, " 1")));
  }
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return Denied("mount");
  if (access("/bin/ip", X_OK) != 0) return Denied("/bin/ip");
  return RunProgram({"/bin/ip", "link", "set", "lo", "up"});
}

absl::Status RunProgram(const std::vector<std::string>& argv) {
  ASSIGN_OR_RETURN(const CommandResult result, RunCommand(argv));
  if (result.exit_status == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(absl::StrJoin(argv, " "), ": exit status ",
                                             result.exit_status, ": ", result.output,
                                             result.errors));
}

}  // namespace kvp

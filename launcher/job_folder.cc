#include "launcher/job_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

std::string LockPath(const std::string& folder) { return folder + "/logs/launch.lock"; }

struct flock WholeFile() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

std::string StatePath(const std::string& folder) { return folder + "/status.json"; }
std::string ManifestPath(const std::string& folder) { return folder + "/manifest.json"; }

absl::Status LockJobFolder(const std::string& folder) {
  RETURN_IF_ERROR(MakeDirectories(folder + "/logs"));
  const std::string path = LockPath(folder);
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  struct flock lock = WholeFile();
  if (fcntl(file, F_OFD_SETLK, &lock) == 0) return absl::OkStatus();
  const int error = errno;
  close(file);
  if (error != EAGAIN && error != EACCES) {
    return absl::UnavailableError(absl::StrCat(path, ": can't lock: ", std::strerror(error)));
  }
  return absl::FailedPreconditionError(
      absl::StrCat(folder, ": another launch is running in this output folder"));
}

bool IsJobRunning(const std::string& folder) {
  const int file = open(LockPath(folder).c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return false;
  struct flock lock = WholeFile();
  const bool held = fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  close(file);
  return held;
}

}  // namespace kvp

#include "util/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace kvp {
namespace {

absl::Status ErrnoError(absl::string_view action, const std::string& path, int error) {
  const std::string message = absl::StrCat(path, ": can't ", action, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
}

absl::Status WriteAll(int descriptor, absl::string_view data, const std::string& path) {
  while (!data.empty()) {
    const ssize_t written = write(descriptor, data.data(), data.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoError("write", path, errno);
    }
    data.remove_prefix(written);
  }
  return absl::OkStatus();
}

// Errors name `path`, the file that the caller wants.
absl::Status WriteAndSync(const std::string& temporary, const std::string& path,
                          const absl::string_view* pieces, size_t count) {
  const int descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) return ErrnoError("create", path, errno);
  absl::Status status;
  for (size_t i = 0; i < count && status.ok(); ++i) {
    status = WriteAll(descriptor, pieces[i], path);
  }
  if (status.ok() && fsync(descriptor) != 0) status = ErrnoError("fsync", path, errno);
  if (close(descriptor) != 0 && status.ok()) status = ErrnoError("close", path, errno);
  return status;
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return ErrnoError("open", path, errno);
  std::string contents;
  char buffer[1 << 16];
  while (true) {
    const ssize_t bytes = read(descriptor, buffer, sizeof(buffer));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) {
      const int error = errno;
      close(descriptor);
      return ErrnoError("read", path, error);
    }
    if (bytes == 0) break;
    contents.append(buffer, bytes);
  }
  close(descriptor);
  return contents;
}

absl::Status WriteFileAtomically(const std::string& path, const absl::string_view* pieces,
                                 size_t count) {
  const std::string temporary = absl::StrCat(path, ".tmp.", getpid());
  absl::Status status = WriteAndSync(temporary, path, pieces, count);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoError("rename a temporary file to", path, errno);
  }
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  // The rename itself is durable only once the folder is synced.
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return ErrnoError("open", folder, errno);
  const int result = fsync(descriptor);
  const int error = errno;
  close(descriptor);
  return result == 0 ? absl::OkStatus() : ErrnoError("fsync", folder, error);
}

absl::Status WriteFileAtomically(const std::string& path,
                                 std::initializer_list<absl::string_view> pieces) {
  return WriteFileAtomically(path, pieces.begin(), pieces.size());
}

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoError("create folder", path, error.value());
  return absl::OkStatus();
}

}  // namespace kvp

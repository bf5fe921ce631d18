#include "tests/benchmarks/disk.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace kvp {
namespace {

absl::Status ErrnoStatus(const std::string& path, absl::string_view what) {
  return absl::InternalError(absl::StrCat(path, ": ", what, ": ", std::strerror(errno)));
}

// The number behind `name` in a file of lines "name number".
int64_t NumberIn(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    if (word != name) continue;
    int64_t number = 0;
    file >> number;
    return number;
  }
  return 0;
}

}  // namespace

absl::StatusOr<BenchFolder> BenchFolder::Make() {
  const char* temporary = std::getenv("TMPDIR");
  std::string folder = absl::StrCat(temporary == nullptr ? "/tmp" : temporary, "/kvp_bench_XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) {
    return absl::UnavailableError(absl::StrCat(folder, ": can't be created"));
  }
  return BenchFolder(std::move(folder));
}

BenchFolder::BenchFolder(BenchFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}

BenchFolder::~BenchFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

ProcessCosts CostsSoFar() {
  ProcessCosts costs;
  costs.written_bytes = NumberIn("/proc/self/io", "write_bytes:");
  costs.read_bytes = NumberIn("/proc/self/io", "read_bytes:");
  costs.peak_rss_bytes = NumberIn("/proc/self/status", "VmHWM:") * 1024;
  return costs;
}

absl::StatusOr<absl::Duration> TimeRawWrite(const std::string& path, int64_t bytes,
                                            const std::string& piece) {
  const absl::Time begin = absl::Now();
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return ErrnoStatus(path, "open");
  absl::Status status;
  for (int64_t done = 0; done < bytes && status.ok(); done += piece.size()) {
    if (write(file, piece.data(), piece.size()) != static_cast<ssize_t>(piece.size())) {
      status = ErrnoStatus(path, "write");
    }
  }
  if (status.ok() && fdatasync(file) != 0) status = ErrnoStatus(path, "fdatasync");
  close(file);
  if (!status.ok()) return status;
  return absl::Now() - begin;
}

absl::StatusOr<absl::Duration> TimeRawRead(const std::string& path, int64_t piece_bytes) {
  std::string piece(piece_bytes, 0);
  const absl::Time begin = absl::Now();
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return ErrnoStatus(path, "open");
  ssize_t got;
  while ((got = read(file, piece.data(), piece.size())) > 0) {
  }
  close(file);
  if (got < 0) return ErrnoStatus(path, "read");
  return absl::Now() - begin;
}

absl::Status DropCaches(const std::string& folder) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path().string();
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return ErrnoStatus(path, "open");
    fsync(file);
    const int error = posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
    if (error != 0) return absl::InternalError(absl::StrCat(path, ": fadvise: ", error));
  }
  return absl::OkStatus();
}

std::string RandomBytes(int64_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, 0);
  for (int64_t i = 0; i + 8 <= size; i += 8) {
    const uint64_t number = random();
    std::memcpy(bytes.data() + i, &number, sizeof(number));
  }
  return bytes;
}

}  // namespace kvp

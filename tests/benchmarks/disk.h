// What the disk and the process did, for measurements.

#ifndef KVP_TESTS_BENCHMARKS_DISK_H_
#define KVP_TESTS_BENCHMARKS_DISK_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace kvp {

// A new folder in TMPDIR, or /tmp, that is removed at the end.
class BenchFolder {
 public:
  // UNAVAILABLE where it can't be made.
  static absl::StatusOr<BenchFolder> Make();
  BenchFolder(BenchFolder&& other) noexcept;
  BenchFolder& operator=(BenchFolder&&) = delete;
  ~BenchFolder();

  const std::string& path() const { return path_; }

 private:
  explicit BenchFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Of this process, since its start: bytes that it caused to be written to, and read from, disks
// (/proc/self/io), and the largest resident set (VmHWM).
struct ProcessCosts {
  int64_t written_bytes = 0;
  int64_t read_bytes = 0;
  int64_t peak_rss_bytes = 0;
};
ProcessCosts CostsSoFar();

// Writes `bytes` bytes to a new file, `piece` by `piece`, and waits until they are on the disk.
absl::StatusOr<absl::Duration> TimeRawWrite(const std::string& path, int64_t bytes,
                                            const std::string& piece);

// Reads the file from begin to end, `piece_bytes` at a time.
absl::StatusOr<absl::Duration> TimeRawRead(const std::string& path, int64_t piece_bytes);

// Drops the page cache's copies of all files in a folder, which must be on the disk already.
absl::Status DropCaches(const std::string& folder);

// Bytes that nothing can compress.
std::string RandomBytes(int64_t size, uint64_t seed);

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_DISK_H_

// FaultFileSystem: a disk under a RocksDB that loses what was not synced when the power goes, runs
// full, and fails.

#ifndef KVP_TESTS_FAULT_FAULT_FILE_SYSTEM_H_
#define KVP_TESTS_FAULT_FAULT_FILE_SYSTEM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/file_system.h"

namespace kvp {

// Keeps, in memory, what a disk would hold of one folder: of each file the bytes written and how
// many of them are synced; of the folder the names that were made, renamed and removed since it was
// last synced, in their order. The folder itself always has everything, as the page cache would.
// Nothing is really synced. What the log file LOG gets is not counted.
//
// An operation is a change: a file created, appended to, truncated, synced, renamed, linked or
// deleted, or the folder synced. Thread-safe.
class FaultFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  // The folder must be there, and empty.
  explicit FaultFileSystem(std::string dir);
  ~FaultFileSystem() override;

  const char* Name() const override { return "FaultFileSystem"; }

  // Changes so far.
  int64_t operations() const;
  // The power goes before this operation: it and all later ones fail.
  void CutPowerAt(int64_t operation);
  bool power_is_cut() const;
  // This operation fails, an append in its middle, and later ones work. Where it can't fail for
  // want of space and `status` is NoSpace, the next that can.
  void FailAt(int64_t operation, rocksdb::IOStatus status);
  // Appends beyond this many bytes in all files together fail in their middle: the disk is full.
  void SetCapacity(int64_t bytes);
  int64_t used_bytes() const;

  // To be called when nothing has files open. Brings the folder into a state in which a power cut
  // may leave it, chosen by `random`: of the names' changes since the folder was synced only the
  // first ones, or none, or all; of each file at least the bytes that were synced, and a part of
  // the others, the last of which may be garbage. Then the power is there again.
  absl::Status RestorePower(std::mt19937& random);

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* file,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus Truncate(const std::string& path, size_t size,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus GetFreeSpace(const std::string& path, const rocksdb::IOOptions& options,
                                 uint64_t* free_bytes, rocksdb::IODebugContext* debug) override;

 private:
  class WritableFile;
  class Directory;
  struct Inode {
    std::string data;
    size_t synced = 0;
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;
  // Names and what they become, together; null: nothing.
  using NamesChange = std::vector<std::pair<std::string, std::shared_ptr<Inode>>>;

  // Counts an operation; its error where it is to fail.
  rocksdb::IOStatus Operate(bool takes_space) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Change(NamesChange change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Apply(const NamesChange& change, Names* names);
  int64_t UsedBytes() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // The name of a counted file in the folder; empty for others.
  std::string NameOf(const std::string& path) const;
  absl::Status WriteFolder() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string dir_;
  mutable absl::Mutex mutex_;
  Names names_ ABSL_GUARDED_BY(mutex_);
  // After the last sync of the folder, and the changes since.
  Names synced_names_ ABSL_GUARDED_BY(mutex_);
  std::vector<NamesChange> changes_ ABSL_GUARDED_BY(mutex_);
  int64_t operations_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t cut_at_ ABSL_GUARDED_BY(mutex_) = INT64_MAX;
  int64_t fail_at_ ABSL_GUARDED_BY(mutex_) = INT64_MAX;
  rocksdb::IOStatus failure_ ABSL_GUARDED_BY(mutex_);
  int64_t capacity_ ABSL_GUARDED_BY(mutex_) = INT64_MAX;
};

}  // namespace kvp

#endif  // KVP_TESTS_FAULT_FAULT_FILE_SYSTEM_H_

// CommitList: which traces a shard has committed, kept apart from its database, so that a damaged
// database can't lose one without a word.
//
// File "commits" in the shard's folder, described in FORMAT.md.

#ifndef KVP_STORAGE_COMMIT_LIST_H_
#define KVP_STORAGE_COMMIT_LIST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/head_block.h"

namespace rocksdb {
class Env;
class WritableFile;
}  // namespace rocksdb

namespace kvp {

// Not thread-safe; calls block on the disk. Errors as of Shard.
class CommitList {
 public:
  struct Contents {
    std::vector<TraceId> ids;
    // Entries whose checksum is wrong; the header counts as one, and then there are no others.
    int64_t damaged = 0;
  };

  // `env` must outlive the list.
  CommitList(rocksdb::Env* env, const std::string& dir);
  ~CommitList();

  // Unset where there is no list. An entry that a crash has cut short is left out.
  absl::StatusOr<std::optional<Contents>> Read() const;

  // Replaces the list by `ids`, durably and all at once.
  absl::Status Replace(absl::Span<const TraceId> ids);

  // Adds `ids`, durably. FAILED_PRECONDITION before a first Replace, and after an error until the
  // next.
  absl::Status Append(absl::Span<const TraceId> ids);
  bool can_append() const { return file_ != nullptr; }

 private:
  absl::Status SyncFolder() const;

  rocksdb::Env* const env_;
  const std::string dir_;
  const std::string path_;
  // Open for appending.
  std::unique_ptr<rocksdb::WritableFile> file_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_COMMIT_LIST_H_

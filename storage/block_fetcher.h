// BlockFetcher: reads blocks ahead with several threads.

#ifndef KVP_STORAGE_BLOCK_FETCHER_H_
#define KVP_STORAGE_BLOCK_FETCHER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/slice.h"
#include "rocksdb/status.h"
#include "storage/key_encoding.h"

namespace kvp {

// Gives blocks in the order in which they were asked for, while its threads read the next ones: a
// disk, and the checksums of what comes from it, are faster with several reads under way. Used by
// one thread.
class BlockFetcher {
 public:
  struct Fetched {
    BlockKey key;
    int64_t bytes = 0;
    rocksdb::Status status;
    rocksdb::PinnableSlice encoded;
  };
  // Called on the threads.
  using Read = std::function<rocksdb::Status(const BlockKey& key, rocksdb::PinnableSlice* encoded)>;

  BlockFetcher(int threads, Read read);
  // Drops what was asked for.
  ~BlockFetcher();

  // `bytes` is the block's size.
  void Ask(const BlockKey& key, int64_t bytes);
  // Blocks asked for and not yet given out, and their sizes.
  size_t outstanding() const { return asked_ - given_; }
  int64_t outstanding_bytes() const { return outstanding_bytes_; }
  // Waits for the next of them; there must be one.
  std::unique_ptr<Fetched> Next();

 private:
  struct Place {
    std::unique_ptr<Fetched> fetched;
    bool done = false;
  };

  void Run();

  const Read read_;
  size_t asked_ = 0;
  size_t given_ = 0;
  int64_t outstanding_bytes_ = 0;
  absl::Mutex mutex_;
  // Those outstanding, in order; the first `begun_` have a thread or are done.
  std::deque<Place> places_ ABSL_GUARDED_BY(mutex_);
  size_t begun_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_BLOCK_FETCHER_H_

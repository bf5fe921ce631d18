// Brings the traces of a sequence of batches into memory before they are needed.

#ifndef KVP_TRAINER_PREFETCHER_H_
#define KVP_TRAINER_PREFETCHER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/trace_reader.h"
#include "trainer/fetch_threads.h"
#include "trainer/head_group_tensors.h"
#include "trainer/trace_cache.h"
#include "trainer/trace_set.h"
#include "util/head_split.h"

namespace kvp {

// Contexts that are needed together, for one group of heads.
struct Portion {
  int64_t group = 0;
  std::vector<Context> contexts;
};

// A portion and what its contexts are made of.
struct LoadedPortion {
  Portion portion;
  std::vector<std::shared_ptr<const HeadGroupTensors>> tensors;  // of each context's trace

  // Of context `i`.
  ContextTensors Load(size_t i, at::Device device) const {
    return tensors[i]->Load(portion.contexts[i], device);
  }
};

// Gives portions in the order of their numbers, from whatever the cache holds and the shards have;
// the order depends on neither. Head by head, the missing traces of a portion are read in one go,
// of several heads and portions at a time. Blocks that are lost leave their head without the trace
// and are counted. Used by one thread.
class Prefetcher {
 public:
  struct Options {
    // Tells this sequence's traces from others' in the cache.
    int32_t set = 0;
    // Bytes of traces that are read, or being read, ahead; the next portion always is.
    int64_t ahead_bytes = int64_t{256} << 20;
  };
  // The portion of a number, from 0 on: a function of the number alone, called in ascending order.
  using Sequence = std::function<Portion(int64_t number)>;

  // The pointers must outlive it. `groups` are the heads of each group.
  Prefetcher(TraceReader* reader, const TraceSet* traces, std::vector<HeadRange> groups,
             Sequence sequence, int64_t first, TraceCache* cache, FetchThreads* threads,
             const Options& options);
  // Waits for the reads that are under way.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // Begins to read ahead, as far as that goes.
  void ReadAhead();
  // The next portion. The reader's errors, and those of blocks that disagree with their records.
  absl::StatusOr<LoadedPortion> Next();

  // Time that Next has waited for reads.
  absl::Duration waited() const { return waited_; }
  // Bytes read from the shards, as they lie in memory.
  int64_t read_bytes() const { return read_bytes_; }
  // (trace, head) pairs found so far of which blocks are lost.
  int64_t incomplete() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // A trace on its way, for the heads of one group.
  struct Item {
    TraceCache::Key key;
    std::shared_ptr<HeadGroupTensors> tensors;
    int64_t bytes = 0;
    // Of the heads still to be read, and of the first that failed. Guarded by the prefetcher's
    // mutex.
    int64_t heads_left = 0;
    absl::Status status;
  };
  struct Ahead {
    LoadedPortion loaded;
    // Of each context, where it isn't from the cache.
    std::vector<std::shared_ptr<Item>> items;
    int64_t new_bytes = 0;
  };

  void Begin(Portion portion);
  void ReadHead(int64_t head, const std::vector<std::shared_ptr<Item>>& items);
  absl::Status ReadInto(int64_t head, const std::vector<std::shared_ptr<Item>>& items);
  void FinishHead(const std::vector<std::shared_ptr<Item>>& items, const absl::Status& status);

  TraceReader* const reader_;
  const TraceSet* const traces_;
  const std::vector<HeadRange> groups_;
  const Sequence sequence_;
  TraceCache* const cache_;
  FetchThreads* const threads_;
  const Options options_;

  // Of the thread that uses it.
  int64_t next_number_;
  std::deque<Ahead> ahead_;
  int64_t ahead_bytes_ = 0;
  int64_t read_bytes_ = 0;
  absl::Duration waited_;
  // What portions ahead share, by trace and group.
  absl::flat_hash_map<TraceCache::Key, std::weak_ptr<Item>> on_their_way_;

  mutable absl::Mutex mutex_;
  int64_t jobs_left_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<std::pair<int64_t, int64_t>> incomplete_ ABSL_GUARDED_BY(mutex_);  // (trace, group)
  int64_t incomplete_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace kvp

#endif  // KVP_TRAINER_PREFETCHER_H_

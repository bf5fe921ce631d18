// Traces that stay in memory once they were read.

#ifndef KVP_TRAINER_TRACE_CACHE_H_
#define KVP_TRAINER_TRACE_CACHE_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "trainer/head_group_tensors.h"

namespace kvp {

// Keeps what comes until a number of bytes is full, and that for good. Each epoch reads every trace
// once in an order of its own, so whatever is dropped for something new is missed as soon as what
// it made room for: nothing that doesn't know the order to come does better than to keep what it
// has. Thread-safe.
class TraceCache {
 public:
  // The trace's number in its set, and the group's number; sets have caches of their own prefix.
  struct Key {
    int32_t set = 0;
    int64_t trace = 0;
    int64_t group = 0;

    friend bool operator==(const Key& a, const Key& b) {
      return a.set == b.set && a.trace == b.trace && a.group == b.group;
    }
    template <typename H>
    friend H AbslHashValue(H hash, const Key& key) {
      return H::combine(std::move(hash), key.set, key.trace, key.group);
    }
  };

  explicit TraceCache(int64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  // Null where it isn't there.
  std::shared_ptr<const HeadGroupTensors> Find(const Key& key) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Keeps `tensors`, of `bytes`, where there is room for them.
  void Offer(const Key& key, std::shared_ptr<const HeadGroupTensors> tensors, int64_t bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const int64_t capacity_bytes_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<Key, std::shared_ptr<const HeadGroupTensors>> tensors_
      ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Bytes that a rank may keep where nothing was said: half of the memory that this machine, or the
// process's control group, has free, shared with the other ranks on it.
int64_t DefaultCacheBytes(int ranks_on_machine);

}  // namespace kvp

#endif  // KVP_TRAINER_TRACE_CACHE_H_

// The order in which traces are read.

#ifndef KVP_STORAGE_TRACE_ORDER_H_
#define KVP_STORAGE_TRACE_ORDER_H_

#include <cstdint>
#include <utility>

#include "storage/head_block.h"

namespace kvp {

// By ascending id, or shuffled by a seed. A trace's place among others depends on the seed and its
// id alone: so every shard and every reader has the same order, and a reader that goes on after a
// trace finds its place again, whatever was committed meanwhile.
class TraceOrder {
 public:
  // 0: by id.
  explicit TraceOrder(uint64_t seed) : seed_(seed) {}

  bool Before(const TraceId& a, const TraceId& b) const { return Place(a) < Place(b); }

 private:
  std::pair<uint64_t, TraceId> Place(const TraceId& id) const;

  uint64_t seed_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_TRACE_ORDER_H_

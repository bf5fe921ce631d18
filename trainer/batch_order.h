// Which contexts each step trains on.

#ifndef KVP_TRAINER_BATCH_ORDER_H_
#define KVP_TRAINER_BATCH_ORDER_H_

#include <cstdint>
#include <vector>

#include "trainer/trace_set.h"

namespace kvp {

// Each epoch goes through all traces once, in an order of its own, and takes one cut of each; over
// as many epochs as a trace has cuts, each of its cuts comes once, again in a random order. So a
// trace is read once an epoch, however many cuts it has. What a step gets is a function of the seed
// and the set of traces alone. Not thread-safe.
class BatchOrder {
 public:
  // `traces` must outlive it, and must not be empty.
  BatchOrder(const TraceSet& traces, int64_t batch, uint64_t seed);

  // The contexts of step `step`, from 0 on. Cheap where steps come in order.
  std::vector<Context> Batch(int64_t step);

 private:
  void Shuffle(int64_t epoch);
  Context ContextOf(int64_t trace, int64_t epoch) const;

  const TraceSet& traces_;
  const int64_t batch_;
  const uint64_t seed_;
  int64_t shuffled_epoch_ = -1;
  std::vector<int64_t> order_;  // of the traces in that epoch
};

}  // namespace kvp

#endif  // KVP_TRAINER_BATCH_ORDER_H_

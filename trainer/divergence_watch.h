// Tells which heads' training has diverged.

#ifndef KVP_TRAINER_DIVERGENCE_WATCH_H_
#define KVP_TRAINER_DIVERGENCE_WATCH_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "trainer/named_tensors.h"

namespace kvp {

// A head has diverged where its loss isn't finite, or is, smoothed over some twenty steps, twice
// what it was over the first ones, before anything was learnt. Not thread-safe.
class DivergenceWatch {
 public:
  explicit DivergenceWatch(int64_t heads);

  // Takes the losses fp64 [heads] of one step; returns the heads that have diverged: bool [heads].
  at::Tensor Update(const at::Tensor& loss);

  // All that Update depends on: the tensors themselves until the next Update, so that writing to
  // them restores a state.
  NamedTensors state() const;

 private:
  at::Tensor steps_;     // int64 [heads]: taken
  at::Tensor first_;     // fp64 [heads]: mean over the first steps
  at::Tensor smoothed_;  // fp64 [heads]: exponential moving average
};

}  // namespace kvp

#endif  // KVP_TRAINER_DIVERGENCE_WATCH_H_

#include "trainer/divergence_watch.h"

#include "ATen/ATen.h"

namespace kvp {
namespace {

constexpr int64_t kFirstSteps = 10;
constexpr double kDecay = 0.95;
constexpr double kTooMuch = 2;

}  // namespace

DivergenceWatch::DivergenceWatch(int64_t heads)
    : steps_(at::zeros({heads}, at::kLong)),
      first_(at::zeros({heads}, at::kDouble)),
      smoothed_(at::zeros({heads}, at::kDouble)) {}

at::Tensor DivergenceWatch::Update(const at::Tensor& loss) {
  steps_ += 1;
  const at::Tensor beginning = steps_ <= kFirstSteps;
  // While it begins, the mean so far; then what is moved.
  first_ = at::where(beginning, first_ + (loss - first_) / steps_, first_);
  smoothed_ = at::where(beginning, first_, smoothed_ * kDecay + loss * (1 - kDecay));
  return loss.isfinite().logical_not().logical_or(smoothed_ > first_ * kTooMuch);
}

NamedTensors DivergenceWatch::state() const {
  return {{"steps", steps_}, {"first", first_}, {"smoothed", smoothed_}};
}

}  // namespace kvp

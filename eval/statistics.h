// Means and their standard errors.

#ifndef KVP_EVAL_STATISTICS_H_
#define KVP_EVAL_STATISTICS_H_

#include <cmath>
#include <cstdint>

namespace kvp {

// Mean and variance of a stream of numbers (Welford's update). NaN values are left out.
class RunningMean {
 public:
  void Add(double value) {
    if (std::isnan(value)) return;
    ++count_;
    const double delta = value - mean_;
    mean_ += delta / static_cast<double>(count_);
    squares_ += delta * (value - mean_);
  }

  int64_t count() const { return count_; }
  // NaN where there was nothing to average.
  double mean() const { return count_ == 0 ? std::nan("") : mean_; }
  // Of the mean, from the unbiased sample variance; 0 for fewer than two values.
  double standard_error() const {
    if (count_ < 2) return 0;
    const double count = static_cast<double>(count_);
    return std::sqrt(squares_ / (count - 1) / count);
  }

 private:
  int64_t count_ = 0;
  double mean_ = 0;
  double squares_ = 0;
};

}  // namespace kvp

#endif  // KVP_EVAL_STATISTICS_H_

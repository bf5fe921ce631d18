// Bootstrap confidence intervals of weighted means.

#ifndef KVP_EVAL_BOOTSTRAP_H_
#define KVP_EVAL_BOOTSTRAP_H_

#include <cmath>
#include <cstdint>
#include <vector>

namespace kvp {

// From `low` to `high`; both NaN where there is none.
struct Interval {
  double low = NAN;
  double high = NAN;
};

struct BootstrapOptions {
  uint64_t seed = 1;
  int64_t resamples = 2000;
  double confidence = 0.95;
};

// What was measured on one context: its mean, and what that counts for among others (questions
// asked, say). Items of a NaN value or of weight 0 are left out.
struct BootstrapItem {
  double value = 0;
  double weight = 1;
};

// The percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, §13.3) of
// Σ weight value / Σ weight. Each resample draws as many items as there are, with replacement;
// items, that is contexts, are what is independent, the numbers within one aren't. With B
// resamples and α = (1 - confidence) / 2, low and high are the ⌈αB⌉-th and the
// (B + 1 - ⌈αB⌉)-th smallest of their means.
//
// A function of its arguments. Equal seeds draw the same places of equally many items, whatever
// their values. NaN for fewer than two items, which show no spread.
Interval BootstrapInterval(const std::vector<BootstrapItem>& items,
                           const BootstrapOptions& options);

}  // namespace kvp

#endif  // KVP_EVAL_BOOTSTRAP_H_

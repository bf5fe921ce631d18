#ifndef KVP_UTIL_MEDIAN_H_
#define KVP_UTIL_MEDIAN_H_

#include <algorithm>
#include <cstddef>
#include <vector>

namespace kvp {

// The middle one of `values`, or the mean of the middle two; 0 of none.
inline double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace kvp

#endif  // KVP_UTIL_MEDIAN_H_

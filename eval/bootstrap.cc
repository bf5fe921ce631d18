#include "eval/bootstrap.h"

#include <algorithm>

#include "util/split_mix64.h"

namespace kvp {

Interval BootstrapInterval(const std::vector<BootstrapItem>& items,
                           const BootstrapOptions& options) {
  std::vector<BootstrapItem> used;
  for (const BootstrapItem& item : items) {
    if (!std::isnan(item.value) && item.weight > 0) used.push_back(item);
  }
  if (used.size() < 2 || options.resamples < 1) return {};
  SplitMix64 random(options.seed);
  std::vector<double> means(static_cast<size_t>(options.resamples));
  for (double& mean : means) {
    double sum = 0;
    double weights = 0;
    for (size_t i = 0; i < used.size(); ++i) {
      const BootstrapItem& item = used[random.Below(used.size())];
      sum += item.weight * item.value;
      weights += item.weight;
    }
    mean = sum / weights;
  }
  std::sort(means.begin(), means.end());
  const double tail = (1 - options.confidence) / 2 * static_cast<double>(means.size());
  // Less than a rounding error above a whole number is that number.
  const size_t cut =
      std::clamp<size_t>(static_cast<size_t>(std::ceil(tail - 1e-6)), 1, (means.size() + 1) / 2);
  return {means[cut - 1], means[means.size() - cut]};
}

}  // namespace kvp
